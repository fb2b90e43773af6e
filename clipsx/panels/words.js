// A sentence over a picture: the word under the pointer, or the chosen one, shows its map; at the patch under the pointer, or the
// chosen one, a bar under every word says how much it fires there. Python sends all maps once.
function render({ model, el }) {
  el.classList.add("clipsx");
  const line = node("div", "clipsx-sentence", el);
  line.setAttribute("role", "radiogroup");
  line.setAttribute("aria-label", "the sentence; arrow keys choose the word whose map is shown");
  const strip = node("div", "clipsx-strip", el);
  strip.tabIndex = 0;
  strip.setAttribute("role", "application");
  strip.setAttribute("aria-label", "the picture; arrow keys move the chosen patch, Escape leaves it");
  strip.style.setProperty("--panes", 2);
  const here = node("div", "clipsx-words", el), live = node("div", "clipsx-unseen", el);
  live.setAttribute("aria-live", "polite");
  let photo = null, drawn = null, over = null, hovered = null, waiting = 0, speaking = 0, buttons = [];
  const set = (values) => { for (const [key, value] of Object.entries(values)) model.set(key, value); model.save_changes(); };
  const words = () => model.get("scene").words || [], grid = () => model.get("scene").grid;
  const last = () => words().length - 1, strongest = () => words().findIndex(({ rank }) => rank === 1);
  const chosen = () => { const place = model.get("word") < 0 ? strongest() : model.get("word"); return place < 0 ? last() : Math.min(place, last()); };
  const shown = () => over ?? chosen();
  const within = (at) => at && grid() && at.map((n, axis) => Math.min(Math.max(n, 0), grid()[axis] - 1));
  const patch = () => within(hovered || model.get("patch"));
  const fires = (k, [row, column]) => floats(model.get("scene").maps)[(k * grid()[0] + row) * grid()[1] + column];

  const panes = ["photo", "map"].map((kind) => {
    const figure = node("figure", "clipsx-pane", strip), title = node("div", "clipsx-title", figure), under = node("div", "clipsx-under clipsx-quiet", figure);
    const frame = node("div", "clipsx-frame", figure), canvas = node("canvas", "", frame), ring = node("div", "clipsx-ring", frame);
    canvas.setAttribute("role", "img");
    const place = (event) => {
      const box = frame.getBoundingClientRect(), at = (x, n) => Math.min(Math.max(Math.floor(x * n), 0), n - 1), [h, w] = grid();
      return [at((event.clientY - box.top) / box.height, h), at((event.clientX - box.left) / box.width, w)];
    };
    frame.onmousemove = (event) => { if (grid()) { hovered = place(event); point(); } };
    frame.onmouseleave = () => { hovered = null; point(); };
    frame.onclick = (event) => { set({ patch: place(event) }); strip.focus({ preventScroll: true }); };
    return { kind, title, under, canvas, ring, layer: document.createElement("canvas") };
  });

  function write() { // the sentence, anew
    const marks = model.get("marks"), focused = line.contains(document.activeElement);
    buttons = words().map(({ word, kind, rank }, k) => {
      const mark = rank ? marks[rank - 1] : null, button = node("button", kind === "word" ? "" : "aside");
      Object.assign(button, { type: "button", textContent: mark ? `${word} ${mark[1]}` : word, onclick: () => set({ word: k }) });
      button.setAttribute("role", "radio");
      if (mark) button.style.setProperty("--mark", mark[0]);
      button.onmouseenter = () => { over = k; later(); };
      button.onmouseleave = () => { over = null; later(); };
      return button;
    });
    line.replaceChildren(...buttons, ...(model.get("scene").cut || []).map((word) => Object.assign(node("s", ""), { textContent: word, title: "not read: beyond the model's context" })));
    choose(focused);
  }

  function choose(focus) {
    buttons.forEach((button, k) => {
      button.tabIndex = k === chosen() ? 0 : -1;
      button.setAttribute("aria-checked", k === chosen());
      if (focus && k === chosen()) button.focus();
    });
    later();
  }

  function point() { // the ring, and what fires there
    const at = patch(), [h, w] = grid() || [1, 1];
    for (const { ring } of panes) {
      ring.hidden = !at;
      if (at) Object.assign(ring.style, { left: `${(100 * (at[1] - 0.25)) / w}%`, top: `${(100 * (at[0] - 0.25)) / h}%`, width: `${150 / w}%`, height: `${150 / h}%` });
    }
    const all = words().map(({ word, kind }, k) => ({ word, kind, k, value: at ? fires(k, at) : 0 }));
    for (const { k, value } of all) buttons[k]?.style.setProperty("--fires", `${100 * value}%`);
    const first = all.filter(({ kind }) => kind === "word").sort((a, b) => b.value - a.value).slice(0, 5);
    here.textContent = at ? `patch ${at[0]}, ${at[1]}: ${first.map(({ word, value }) => `${word} ${value.toFixed(2)}`).join(" · ")}` : "point at the picture, or walk over it with the arrow keys: a bar under each word says how much it fires there";
    clearTimeout(speaking);
    speaking = setTimeout(() => { live.textContent = `${words()[shown()]?.about || ""}. ${at ? here.textContent : ""}`; }, 600);
  }

  function draw() {
    waiting = 0;
    const scene = model.get("scene"), picture = model.get("picture"), now = words()[shown()];
    if (!photo || !now || drawn !== picture.bytes) return; // a new picture is still being decoded
    const [h, w] = scene.grid, size = h * w, outline = now.outline && new Path2D(now.outline);
    buttons.forEach((button, k) => button.classList.toggle("under", k === over));
    for (const { kind, title, under, canvas, layer } of panes) {
      const ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio) || 256, height = Math.max(1, Math.round((width * picture.size[1]) / picture.size[0]));
      Object.assign(canvas, { width, height });
      Object.assign(layer, { width, height });
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(photo, 0, 0, width, height);
      if (kind === "map") {
        const field = upsample(floats(scene.maps).subarray(shown() * size, (shown() + 1) * size), scene.grid, height, width);
        layer.getContext("2d").putImageData(paint(field, height, width, new Uint8Array(bytesOf(model.get("colours"))), model.get("opacity"), null), 0, 0);
        pen.drawImage(layer, 0, 0);
      }
      if (outline) {
        const scale = width / picture.size[0];
        pen.setTransform(scale, 0, 0, scale, 0, 0);
        for (const [colour, thick] of [["#000b", 4], ["#fff", 2]]) {
          Object.assign(pen, { strokeStyle: colour, lineWidth: (thick * ratio) / scale, lineJoin: "round" });
          pen.stroke(outline);
        }
      }
      title.textContent = kind === "map" ? now.word : picture.name;
      under.textContent = under.title = kind === "map" ? now.about : scene.about;
      canvas.setAttribute("aria-label", kind === "map" ? `map of ${now.about}` : `the picture ${picture.name}`);
    }
    point();
    el.dataset.drawn = Number(el.dataset.drawn || 0) + 1;
  }
  const later = () => { waiting ||= requestAnimationFrame(draw); };

  const load = photograph(model, (next, bytes) => { photo = next; drawn = bytes; later(); });
  line.onkeydown = (event) => {
    const count = words().length, to = { ArrowRight: chosen() + 1, ArrowLeft: chosen() - 1, Home: 0, End: count - 1 }[event.key];
    if (to === undefined || !count) return;
    event.preventDefault();
    event.stopPropagation();
    set({ word: (to + count) % count });
    choose(true);
  };
  strip.onkeydown = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") return set({ patch: null });
    if (!move || !grid()) return;
    event.preventDefault();
    event.stopPropagation();
    const [row, column] = within(model.get("patch")) || [(grid()[0] >> 1) - move[0], (grid()[1] >> 1) - move[1]];
    set({ patch: within([row + move[0], column + move[1]]) });
  };
  const chose = () => choose(line.contains(document.activeElement));
  const heard = { "change:scene": write, "change:word": chose, "change:patch": point, "change:picture": load, "change:opacity": later };
  for (const [event, act] of Object.entries(heard)) model.on(event, act);
  const sizes = new ResizeObserver(later);
  sizes.observe(strip);
  write();
  load();
  return () => { sizes.disconnect(); clearTimeout(speaking); for (const [event, act] of Object.entries(heard)) model.off(event, act); };
}
export default { render };
