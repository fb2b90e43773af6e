// Pictures side by side under one set of maps. Blending, threshold, hover and the choice of label happen here; Python sends a grid once.
const percent = (x) => `${(100 * x).toFixed(1)} %`.replace("-", "−");

function render({ model, el }) {
  el.classList.add("clipsx");
  const strip = node("div", "clipsx-strip", el);
  strip.tabIndex = 0;
  strip.setAttribute("role", "application");
  strip.setAttribute("aria-label", "pictures; arrow keys move the chosen patch, Escape lets the label choose it");
  const legend = node("div", "clipsx-legend clipsx-quiet", el);
  const live = node("div", "clipsx-unseen", el);
  live.setAttribute("aria-live", "polite");
  legend.innerHTML = '<span>low<canvas width="256" height="1"></canvas>high</span><span class="of-truth"><i class="clipsx-line"></i>true outline</span>'
    + '<span><i class="clipsx-line threshold"></i>threshold</span><span class="clipsx-here"></span>';
  const here = legend.querySelector(".clipsx-here");
  let panes = [], photo = null, drawn = null, hovered = null, waiting = 0, speaking = 0;
  const set = (values) => { for (const [key, value] of Object.entries(values)) model.set(key, value); model.save_changes(); };
  const grid = () => model.get("scene").grid;
  const shown = () => Math.min(model.get("shown"), model.get("scene").labels.length - 1);

  // What every pane shows now: a title, a grid of 0 … 1 or null, and words under it.
  function contents() {
    const scene = model.get("scene"), i = shown(), [h, w] = scene.grid;
    const step = Math.round(100 * model.get("threshold"));
    const maps = scene.panes.map((pane) => {
      const numbers = [];
      if (pane.msc[i] != null) numbers.push(`mSC ${percent(pane.msc[i] / 100)}`, `IoU ${percent(floats(pane.iou)[i * 101 + step] / 100)}`);
      if (pane.constant[i]) numbers.splice(0, 9, "constant: says nothing");
      return { title: pane.title, under: pane.under, short: pane.short, grid: i < 0 ? null : floats(pane.maps).subarray(i * h * w, (i + 1) * h * w), words: numbers.join(" · "), threshold: model.get("threshold") };
    });
    const anchor = model.get("attention");
    const last = { title: anchor.title, under: anchor.under, short: "attention", grid: anchor.map ? floats(anchor.map) : null, words: anchor.words, threshold: null };
    return [{ title: scene.title, under: scene.under, grid: null, words: scene.words }, ...maps, last];
  }

  function build(count) {
    strip.replaceChildren();
    strip.style.setProperty("--panes", count);
    panes = Array.from({ length: count }, () => {
      const figure = node("figure", "clipsx-pane", strip), title = node("div", "clipsx-title", figure);
      const under = node("div", "clipsx-under clipsx-quiet", figure), frame = node("div", "clipsx-frame", figure);
      const canvas = node("canvas", "", frame), ring = node("div", "clipsx-ring", frame), cell = node("div", "clipsx-cell", frame);
      const numbers = node("figcaption", "clipsx-numbers clipsx-quiet", figure);
      canvas.setAttribute("role", "img");
      const place = (event) => {
        const box = frame.getBoundingClientRect(), [h, w] = grid();
        const at = (x, n) => Math.min(Math.max(Math.floor(x * n), 0), n - 1);
        return [at((event.clientY - box.top) / box.height, h), at((event.clientX - box.left) / box.width, w)];
      };
      frame.onmousemove = (event) => { hovered = place(event); mark(); };
      frame.onmouseleave = () => { hovered = null; mark(); };
      frame.onclick = (event) => { set({ patch: place(event) }); strip.focus({ preventScroll: true }); };
      return { title, under, canvas, ring, cell, numbers, layer: document.createElement("canvas") };
    });
  }

  function box(element, patch, grow) {
    element.hidden = !patch;
    if (!patch) return;
    const [h, w] = grid();
    Object.assign(element.style, { left: `${(100 * (patch[1] - grow)) / w}%`, top: `${(100 * (patch[0] - grow)) / h}%`, width: `${(100 * (1 + 2 * grow)) / w}%`, height: `${(100 * (1 + 2 * grow)) / h}%` });
  }

  function mark() { // ring, hovered cell and the values there
    const scene = model.get("scene"), ring = model.get("patch") || model.get("attention").anchor, at = hovered || ring;
    for (const pane of panes) { box(pane.ring, ring, 0.25); box(pane.cell, hovered, 0); }
    if (!at || !scene.grid) return (here.textContent = "");
    const values = contents().filter((c) => c.grid).map((c) => `${c.short} ${c.grid[at[0] * scene.grid[1] + at[1]].toFixed(2)}`);
    here.textContent = `patch ${at[0]}, ${at[1]}: ${values.join(" · ")}`;
  }

  function draw() {
    waiting = 0;
    const scene = model.get("scene"), picture = model.get("picture");
    if (!photo || !scene.grid || drawn !== picture.bytes) return; // a new picture is still being decoded
    const all = contents(), label = scene.labels[shown()], colours = new Uint8Array(bytesOf(model.get("colours")));
    if (panes.length !== all.length) build(all.length);
    const outline = picture.outlines[label] && new Path2D(picture.outlines[label]);
    legend.querySelector(".of-truth").hidden = !outline;
    all.forEach((content, k) => {
      const { canvas, title, under, numbers, layer } = panes[k];
      const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 256, height = Math.max(1, Math.round((width * picture.size[1]) / picture.size[0]));
      Object.assign(canvas, { width, height });
      Object.assign(layer, { width, height });
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(photo, 0, 0, width, height);
      if (content.grid) {
        const field = upsample(content.grid, scene.grid, height, width);
        layer.getContext("2d").putImageData(paint(field, height, width, colours, model.get("opacity"), content.threshold), 0, 0);
        pen.drawImage(layer, 0, 0);
      }
      if (outline) {
        const scale = width / picture.size[0];
        pen.setTransform(scale, 0, 0, scale, 0, 0);
        for (const [colour, thick] of [["#000b", 4], ["#fff", 2]]) {
          Object.assign(pen, { strokeStyle: colour, lineWidth: (thick * (window.devicePixelRatio || 1)) / scale, lineJoin: "round" });
          pen.stroke(outline);
        }
      }
      title.textContent = title.title = content.title;
      under.textContent = under.title = content.under;
      numbers.textContent = content.words || " ";
      canvas.setAttribute("aria-label", `${content.title}${label && content.grid ? `, label ${label || "(empty label)"}` : ""}. ${content.words || ""}`);
    });
    mark();
    el.dataset.drawn = Number(el.dataset.drawn || 0) + 1;
    clearTimeout(speaking);
    speaking = setTimeout(() => { live.textContent = `${label ?? "no label"}: ${all.filter((c) => c.words).map((c) => `${c.title} ${c.words}`).join("; ")}. ${here.textContent}`; }, 600);
  }
  const later = () => { waiting ||= requestAnimationFrame(draw); };

  const load = photograph(model, (next, bytes) => { photo = next; drawn = bytes; later(); });
  function bar() {
    const colours = new Uint8Array(bytesOf(model.get("colours"))), image = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) image.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
    legend.querySelector("canvas").getContext("2d").putImageData(image, 0, 0);
  }
  strip.onkeydown = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") return set({ patch: null });
    if (!move || !grid()) return;
    event.preventDefault();
    event.stopPropagation();
    const [h, w] = grid(), from = model.get("patch") || model.get("attention").anchor || [h >> 1, w >> 1];
    set({ patch: [Math.min(Math.max(from[0] + move[0], 0), h - 1), Math.min(Math.max(from[1] + move[1], 0), w - 1)] });
  };
  const redraw = "change:scene change:attention change:shown change:threshold change:opacity";
  model.on(redraw, later);
  model.on("change:patch", mark);
  model.on("change:picture", load);
  const sizes = new ResizeObserver(later);
  sizes.observe(strip);
  bar();
  load();
  return () => { sizes.disconnect(); clearTimeout(speaking); model.off(redraw, later); model.off("change:patch", mark); model.off("change:picture", load); };
}
export default { render };
