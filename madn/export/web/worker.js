// Restores photos one after the other: decoded upright, cut into tiles, put together, encoded as PNG and JPEG.

let facts = null, session = null, ort = null, queue;

// Not waited for at the top of the file: a worker that waits there loses the messages that come meanwhile.
async function prepared() {
  facts ??= await (await fetch("facts.json")).json();
  if (!session) await start();
}

async function start() {
  const attempts = navigator.gpu ? [["ort.webgpu.min.mjs", "webgpu"], ["ort.wasm.min.mjs", "wasm"]] : [["ort.wasm.min.mjs", "wasm"]];
  let problem = null;
  for (const [file, provider] of attempts) {
    try {
      ort = await import(`./onnxruntime-web/${file}`);
      ort.env.wasm.wasmPaths = new URL("onnxruntime-web/", location.href).href;
      ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
      session = await ort.InferenceSession.create("model.onnx", { executionProviders: [provider] });
      const how = provider === "webgpu" ? "WebGPU" : ort.env.wasm.numThreads > 1 ? `${ort.env.wasm.numThreads} threads` : "one thread";
      postMessage({ said: `Ready: photos are restored on ${how}.` });
      return;
    } catch (fault) { problem = fault; }
  }
  throw problem;
}

// Where tiles of `size` start along `length`, and the part of each that it gives to the photo.
function spans(length, size) {
  if (length <= size) return [{ start: 0, first: 0, last: length }];
  const unit = facts.multiple, n = Math.ceil(length / unit) * unit, parts = Math.ceil((n - 2 * facts.reach) / (size - 2 * facts.reach));
  const starts = Array.from({ length: parts }, (_, i) => Math.floor((i * (n - size)) / (parts - 1) / unit) * unit);
  const joints = starts.slice(1).map((next, i) => Math.floor((starts[i] + size + next) / 2));
  return starts.map((start, i) => ({ start, first: i ? joints[i - 1] : 0, last: i + 1 < parts ? joints[i] : length }));
}

// Reflection at the border, however small the photo.
function inside(i, n) {
  if (n === 1) return 0;
  i %= 2 * n - 2;
  return i < n ? i : 2 * n - 2 - i;
}

async function restore(id, pixels, width, height) {
  const whole = width * height <= facts.whole, tall = whole ? height : Math.min(height, facts.tile), wide = whole ? width : Math.min(width, facts.tile);
  const rows = spans(height, tall), columns = spans(width, wide), tiles = rows.length * columns.length;
  const result = new Uint8ClampedArray(pixels), begin = performance.now();
  let done = 0;
  postMessage({ id, kind: "progress", done, tiles, left: null });
  for (const row of rows) for (const column of columns) {
    const values = new Float32Array(tall * wide * 3);
    for (let y = 0, to = 0; y < tall; y++) {
      const line = inside(row.start + y, height) * width;
      for (let x = 0; x < wide; x++) {
        const from = 4 * (line + inside(column.start + x, width));
        for (let c = 0; c < 3; c++) values[to++] = pixels[from + c] / 255;
      }
    }
    const answer = await session.run({ blurred: new ort.Tensor("float32", values, [1, tall, wide, 3]) });
    const made = answer.deblurred.data;
    for (let y = row.first; y < row.last; y++) for (let x = column.first; x < column.last; x++) {
      const from = 3 * ((y - row.start) * wide + x - column.start), to = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) {
        if (!Number.isFinite(made[from + c])) throw new Error("the network answered with values that are not numbers");
        result[to + c] = Math.round(255 * made[from + c]);
      }
    }
    answer.deblurred.dispose?.();
    done++;
    postMessage({ id, kind: "progress", done, tiles, left: done < tiles ? ((performance.now() - begin) / 1000 / done) * (tiles - done) : null });
  }
  return { result, tiles };
}

function canvasOf(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

async function photo(id, file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" }); }
  catch { throw new Error(file.size ? "this browser cannot read it as an image" : "the file is empty"); }
  const { width, height } = bitmap, context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  // A canvas that is too large for the browser swallows what is drawn on it, without an error.
  context?.fillRect(width - 1, height - 1, 1, 1);
  if (!context?.getImageData(width - 1, height - 1, 1, 1).data[3])
    throw new Error(`${width} × ${height} pixels are more than this browser can take; make it smaller first`);
  context.clearRect(width - 1, height - 1, 1, 1);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data: pixels } = context.getImageData(0, 0, width, height);
  await prepared();
  const begin = performance.now();
  const { result, tiles } = await restore(id, pixels, width, height), seconds = (performance.now() - begin) / 1000;
  const canvas = canvasOf(result, width, height);
  const [after, jpeg, before] = await Promise.all([canvas.convertToBlob(), canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 }), canvasOf(pixels, width, height).convertToBlob()]);
  postMessage({ id, kind: "restored", before, after, jpeg, width, height, seconds, tiles });
}

queue = prepared().catch(() => {}); // The first photo tries again, and says what is the matter.
onmessage = ({ data: { id, file } }) => {
  queue = queue.then(() => photo(id, file)).catch((fault) => {
    const memory = fault instanceof RangeError || /memory|alloc/i.test(fault.message ?? String(fault));
    postMessage({ id, kind: "failed", reason: memory ? "this device has too little memory for it" : (fault.message ?? String(fault)).split("\n")[0] });
  });
};
