"use strict";
// The page: files come in, wait for the worker one after the other, and are shown under the report's slider.

const state = document.getElementById("state"), drop = document.getElementById("drop");
const jobs = new Map();
let worker = null, count = 0;

function started() {
  if (worker) return worker;
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.id === undefined ? (state.textContent = data.said) : jobs.get(data.id)[data.kind](data));
  worker.onerror = (event) => {
    for (const job of jobs.values()) if (!job.done) job.failed({ reason: "the network could not be started: " + (event.message || "a file is missing") });
    worker = null;
  };
  return worker;
}

class Job {
  constructor(file) {
    this.file = file, this.id = count++, this.done = false;
    document.getElementById("photos").prepend(document.getElementById("photo").content.cloneNode(true));
    this.section = document.querySelector("#photos section");
    this.section.querySelector("h2").textContent = file.name;
    this.note = this.section.querySelector(".note"), this.bar = this.section.querySelector("progress");
    this.note.textContent = "waiting";
  }

  start() {
    if (/\.hei[cf]$/i.test(this.file.name) && !/Safari/.test(navigator.userAgent.replace(/Chrom.*Safari/, "")))
      return this.failed({ reason: "HEIC is not read by this browser; save it as JPEG first" });
    started().postMessage({ id: this.id, file: this.file });
  }

  progress({ done, tiles, left }) {
    if (done) this.bar.value = done / tiles;
    else this.bar.removeAttribute("value"); // It moves until the first tile is done, which takes seconds.
    this.note.textContent = (tiles > 1 ? `tile ${Math.min(done + 1, tiles)} of ${tiles}` : "in progress") + (left === null ? "" : `, about ${left < 90 ? Math.ceil(left) + " s" : Math.ceil(left / 60) + " min"} left`);
  }

  failed({ reason }) {
    this.done = true;
    this.section.classList.add("failed");
    this.note.textContent = `Not restored: ${reason}.`;
    this.bar.remove();
  }

  restored({ before, after, jpeg, width, height, seconds, tiles }) {
    this.done = true;
    this.bar.remove();
    this.note.textContent = `${width} × ${height} pixels, ${seconds.toFixed(1)} s` + (tiles > 1 ? `, ${tiles} tiles` : "");
    const figure = this.section.querySelector(".viewer"), stem = this.file.name.replace(/\.[^.]*$/, "");
    figure.hidden = false;
    figure.style.cssText = `--w:${width};--h:${height}`;
    for (const [which, blob] of [["before", before], ["after", after]]) {
      const image = figure.querySelector(`.${which} img`);
      image.width = width, image.height = height, image.alt = `${this.file.name}, ${which}`, image.src = URL.createObjectURL(blob);
    }
    for (const [kind, blob, suffix] of [["png", after, ".png"], ["jpeg", jpeg, ".jpg"]]) {
      const link = this.section.querySelector(`.save .${kind}`);
      link.href = URL.createObjectURL(blob), link.download = `${stem}-sharp${suffix}`;
    }
    const viewer = new Viewer(figure);
    viewers.set(viewer.stage, viewer);
    viewer.place();
    sizes.observe(viewer.stage);
  }
}

function take(files) {
  for (const file of files) {
    const job = new Job(file);
    jobs.set(job.id, job);
    job.start();
  }
}

// The service worker answers from the next load on, and threads need it: the page is loaded once more, before any photo.
// Then the worker loads the network, before there is a photo, so that the service worker keeps all files for use offline.
async function prepare() {
  try {
    const service = navigator.serviceWorker;
    await service?.register("sw.js").then(() => service.ready);
    if (service && !self.crossOriginIsolated && !jobs.size && !sessionStorage.getItem("reloaded")) {
      sessionStorage.setItem("reloaded", "yes");
      return location.reload();
    }
  } catch {} // Without a service worker the page restores, too, on one thread and online.
  started();
}
prepare();

document.getElementById("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
  event.preventDefault();
  drop.classList.toggle("over", kind === "dragover");
  if (kind === "drop") take(event.dataTransfer.files);
});
