// A map over a picture, for every part of a panel that draws one: bilinear upsampling and colours, as the package has them.
const bytesOf = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const floats = (view) => new Float32Array(bytesOf(view));
const node = (tag, className, parent) => { const n = document.createElement(tag); n.className = className; parent?.append(n); return n; };

// Hands on a model's picture once it is decoded; of two on their way, the later.
const photograph = (model, take) => async () => {
  const { bytes } = model.get("picture");
  if (!bytes) return;
  const next = await createImageBitmap(new Blob([bytes]));
  if (bytes === model.get("picture").bytes) take(next, bytes);
};

// The weights of bilinear interpolation from n cells to m pixels, cell centres at (i + 0.5) / n, as the package's own upsampling has them.
function taps(n, m) {
  const low = new Int32Array(m), high = new Int32Array(m), part = new Float32Array(m);
  for (let i = 0; i < m; i++) {
    const x = Math.min(Math.max(((i + 0.5) * n) / m - 0.5, 0), n - 1);
    low[i] = Math.floor(x);
    high[i] = Math.min(low[i] + 1, n - 1);
    part[i] = x - low[i];
  }
  return { low, high, part };
}

function upsample(grid, [h, w], height, width) {
  const field = new Float32Array(height * width), rows = taps(h, height), columns = taps(w, width);
  for (let y = 0; y < height; y++) {
    const top = rows.low[y] * w, bottom = rows.high[y] * w, v = rows.part[y];
    for (let x = 0; x < width; x++) {
      const a = columns.low[x], b = columns.high[x], u = columns.part[x];
      field[y * width + x] = (1 - v) * ((1 - u) * grid[top + a] + u * grid[top + b]) + v * ((1 - u) * grid[bottom + a] + u * grid[bottom + b]);
    }
  }
  return field;
}

// Colours every pixel by its value; where the value crosses the threshold, a line two pixels wide, smoothed by the slope.
function paint(field, height, width, colours, opacity, threshold) {
  const image = new ImageData(width, height), data = image.data, thick = 1.1 * (window.devicePixelRatio || 1);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const value = field[i], c = 3 * Math.round(255 * Math.min(Math.max(value, 0), 1));
      let line = 0;
      if (threshold !== null) {
        const dx = (x + 1 < width ? field[i + 1] : value) - (x ? field[i - 1] : value);
        const dy = (y + 1 < height ? field[i + width] : value) - (y ? field[i - width] : value);
        const slope = Math.hypot(dx, dy) / 2;
        if (slope > 1e-6) line = Math.min(Math.max(thick + 0.5 - Math.abs(value - threshold) / slope, 0), 1);
      }
      const alpha = opacity + (1 - opacity) * line, o = 4 * i;
      const mix = (channel, ink) => (alpha ? ((1 - line) * opacity * channel + line * ink) / alpha : 0);
      data[o] = mix(colours[c], 255);
      data[o + 1] = mix(colours[c + 1], 90);
      data[o + 2] = mix(colours[c + 2], 31);
      data[o + 3] = 255 * alpha;
    }
  }
  return image;
}
