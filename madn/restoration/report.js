"use strict";
// A viewer's state is three things: where the line is, the zoom, and which point of the picture is in the middle.
// place() turns them into custom properties of the stage, from which both pictures take their place.

const ZOOMS = [1 / 8, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(figure) {
    this.stage = figure.querySelector(".stage");
    this.stage.append(document.getElementById("overlay").content.cloneNode(true));
    figure.querySelector("figcaption").append(document.getElementById("toolbar").content.cloneNode(true));
    const picture = this.stage.querySelector("img");
    this.width = Number(picture.getAttribute("width"));
    this.height = Number(picture.getAttribute("height"));
    this.prefix = figure.classList.contains("preview") ? "preview at " : "";
    this.range = this.stage.querySelector("input");
    const name = figure.closest("section").querySelector("h2").textContent;
    this.range.setAttribute("aria-label", "Before and after: " + name);
    this.label = figure.querySelector(".zoom");
    this.buttons = Object.fromEntries([...figure.querySelectorAll("[data-zoom]")].map((b) => [b.dataset.zoom, b]));
    this.at = 0.5;
    this.zoom = null; // screen pixels for each pixel of the picture; null: as large as fits
    this.centre = { x: 0.5, y: 0.5 };
    this.pointers = new Map();
    this.listen();
    this.slide(0.5);
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.release(event));
    stage.addEventListener("dblclick", (event) => {
      if (event.target.closest(".tag")) return;
      this.zoomTo(this.zoom === null ? Math.max(1, 2 * this.fit()) : null, this.point(event));
    });
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      this.zoomTo(this.now() * Math.exp(-clamp(event.deltaY, -100, 100) / 200), this.point(event));
    }, { passive: false });
    this.range.addEventListener("input", () => this.slide(this.range.value / 100));
    this.range.addEventListener("keydown", (event) => this.key(event));
    stage.querySelector(".left").addEventListener("click", () => this.slide(1));
    stage.querySelector(".right").addEventListener("click", () => this.slide(0));
    for (const [kind, button] of Object.entries(this.buttons)) button.addEventListener("click", () => this.step(kind));
  }

  slide(at) {
    this.at = clamp(at, 0, 1);
    const percent = Math.round(100 * this.at);
    this.range.value = percent;
    this.range.setAttribute("aria-valuetext", percent + "% before, " + (100 - percent) + "% after");
    this.stage.style.setProperty("--at", 100 * this.at + "%");
  }

  // Small pictures are enlarged by whole numbers, where that fills most of the stage.
  fit() {
    const fill = Math.min(this.box.width / this.width, this.box.height / this.height) * devicePixelRatio;
    const whole = Math.floor(fill + 0.001);
    return whole >= 0.7 * fill ? whole : fill;
  }

  now() {
    return this.zoom ?? this.fit();
  }

  place() {
    this.box = this.stage.getBoundingClientRect();
    if (!this.box.width) return;
    const zoom = this.now(), size = { x: this.width, y: this.height }, room = { x: this.box.width, y: this.box.height };
    this.offset = {}, this.size = {};
    for (const axis of ["x", "y"]) {
      const length = this.size[axis] = size[axis] * zoom / devicePixelRatio, spare = room[axis] - length;
      const start = spare >= 0 ? spare / 2 : clamp(room[axis] / 2 - this.centre[axis] * length, spare, 0);
      this.offset[axis] = Math.round(start * devicePixelRatio) / devicePixelRatio;
      this.centre[axis] = (room[axis] / 2 - start) / length;
    }
    const properties = { "--ix": this.offset.x, "--iy": this.offset.y, "--iw": this.size.x, "--ih": this.size.y };
    for (const [name, value] of Object.entries(properties)) this.stage.style.setProperty(name, value + "px");
    this.pannable = this.size.x > room.x + 1 || this.size.y > room.y + 1;
    this.stage.classList.add("placed");
    this.stage.classList.toggle("pannable", this.pannable);
    this.stage.classList.toggle("crisp", zoom > 1 && (this.zoom !== null || Number.isInteger(zoom)));
    this.label.textContent = this.prefix + (100 * zoom).toFixed(zoom < 0.1 ? 1 : 0) + "%";
    this.buttons.out.disabled = zoom <= Math.min(1, this.fit());
    this.buttons.fit.disabled = this.zoom === null;
    this.buttons.in.disabled = zoom >= ZOOMS.at(-1);
    this.buttons.whole.disabled = zoom === 1;
  }

  // The point of the picture that is under `around` (the middle of the stage by default) stays there.
  zoomTo(zoom, around = { x: this.box.width / 2, y: this.box.height / 2 }) {
    const fit = this.fit();
    if (zoom !== null) zoom = clamp(zoom, Math.min(1, fit), Math.max(ZOOMS.at(-1), fit));
    this.zoom = zoom === fit ? null : zoom;
    const room = { x: this.box.width, y: this.box.height }, size = { x: this.width, y: this.height };
    for (const axis of ["x", "y"]) {
      const point = (around[axis] - this.offset[axis]) / this.size[axis];
      const length = size[axis] * this.now() / devicePixelRatio;
      this.centre[axis] = (room[axis] / 2 - around[axis]) / length + point;
    }
    this.place();
  }

  step(kind) {
    const zoom = this.now();
    if (kind === "fit") this.zoomTo(null);
    if (kind === "whole") this.zoomTo(1);
    if (kind === "in") this.zoomTo(ZOOMS.find((each) => each > zoom * 1.01) ?? zoom);
    if (kind === "out") this.zoomTo(ZOOMS.findLast((each) => each < zoom / 1.01) ?? 0);
  }

  pan(x, y) {
    this.centre.x -= x / this.size.x;
    this.centre.y -= y / this.size.y;
    this.place();
  }

  key(event) {
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const kinds = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "whole" };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && event.key in arrows) this.pan(...arrows[event.key].map((each) => 48 * each));
    else if (event.key in kinds) this.step(kinds[event.key]);
    else return;
    event.preventDefault();
  }

  point(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  press(event) {
    if (event.button !== 0 || event.target.closest(".tag")) return;
    const point = this.point(event), onLine = event.target.closest(".line") !== null;
    this.pointers.set(event.pointerId, point);
    this.stage.setPointerCapture(event.pointerId);
    this.range.focus({ preventScroll: true });
    if (event.pointerType === "mouse") event.preventDefault(); // else the focus would go with the press
    this.start = point;
    this.grip = onLine ? point.x - this.at * this.box.width : 0;
    this.drag = onLine ? "slide" : this.pannable ? "pan" : "perhaps";
    if (this.pointers.size === 2) this.drag = "pinch";
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const point = this.point(event), x = point.x - this.start.x, y = point.y - this.start.y;
    this.pointers.set(event.pointerId, point);
    // Neither a double click nor scrolling by touch moves the line.
    if (this.drag === "perhaps" && Math.abs(x) > 4 && Math.abs(x) > Math.abs(y)) this.drag = "slide";
    if (this.drag === "slide") this.slide((point.x - this.grip) / this.box.width);
    if (this.drag === "pan") {
      this.stage.classList.add("panning");
      this.pan(point.x - last.x, point.y - last.y);
    }
    if (this.drag === "pinch" && this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y);
      const middle = (a) => ({ x: (a.x + other.x) / 2, y: (a.y + other.y) / 2 });
      this.zoomTo(this.now() * apart(point) / Math.max(apart(last), 1), middle(last));
      this.pan(middle(point).x - middle(last).x, middle(point).y - middle(last).y);
    }
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    this.stage.classList.remove("panning");
    this.drag = null;
  }
}

const viewers = new Map();
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => viewers.get(entry.target).place()));
for (const figure of document.querySelectorAll(".viewer")) {
  const viewer = new Viewer(figure);
  viewers.set(viewer.stage, viewer);
  viewer.place();
  sizes.observe(viewer.stage);
}
