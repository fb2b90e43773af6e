// A class × class matrix: a click, or the arrow keys, choose a cell; what stands behind it is Python's to show.
const SIDE = 420, MARGIN = 92;
function render({ model, el }) {
  el.classList.add("clipsx", "clipsx-cells");
  const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
  canvas.setAttribute("role", "application");
  const told = Object.assign(document.createElement("div"), { className: "clipsx-quiet" });
  told.setAttribute("aria-live", "polite");
  el.append(canvas, told);
  const floats = () => { const v = model.get("values"); return new Float32Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)); };
  const words = (i, j) => {
    const value = floats()[i * model.get("labels").length + j], labels = model.get("labels");
    return `${model.get("name")}, ${labels[i]} × ${labels[j]}: ${Number.isNaN(value) ? "not measured" : value.toFixed(3)}`;
  };
  const choose = (i, j) => {
    const last = model.get("labels").length - 1;
    model.set("chosen", [Math.max(0, Math.min(last, i)), Math.max(0, Math.min(last, j))]);
    model.save_changes();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect(), n = model.get("labels").length, cell = (SIDE - MARGIN) / n;
    const place = (value) => Math.floor((value * SIDE / box.width - MARGIN) / cell);
    const [i, j] = [place(event.clientY - box.top), place(event.clientX - box.left)];
    return i >= 0 && j >= 0 && i < n && j < n ? [i, j] : null;
  };
  canvas.onclick = (event) => { const cell = at(event); if (cell) choose(...cell); };
  canvas.onmousemove = (event) => { const cell = at(event); told.textContent = cell ? words(...cell) : words(...model.get("chosen")); };
  canvas.onmouseleave = () => { told.textContent = words(...model.get("chosen")); };
  canvas.onkeydown = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const [i, j] = model.get("chosen");
    choose(i + move[0], j + move[1]);
  };
  const draw = () => {
    const labels = model.get("labels"), n = labels.length, values = floats(), [a, b] = model.get("chosen");
    const c = model.get("colours"), colours = new Uint8Array(c.buffer, c.byteOffset, c.byteLength);
    const scale = window.devicePixelRatio || 1, context = canvas.getContext("2d"), cell = (SIDE - MARGIN) / n;
    canvas.width = canvas.height = SIDE * scale;
    canvas.style.width = `${SIDE}px`;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const known = [...values].filter((v, k) => !Number.isNaN(v) && Math.floor(k / n) !== k % n);
    const low = Math.min(...known), span = Math.max(...known) - low || 1;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      const value = values[i * n + j], k = 3 * Math.max(0, Math.min(255, Math.round(255 * (value - low) / span)));
      context.fillStyle = i === j || Number.isNaN(value) ? "#dddddd" : `rgb(${colours[k]},${colours[k + 1]},${colours[k + 2]})`;
      context.fillRect(MARGIN + j * cell, MARGIN + i * cell, cell + 0.5, cell + 0.5);
    }
    context.font = `${Math.max(4, Math.min(11, cell - 2))}px system-ui, sans-serif`;
    context.fillStyle = getComputedStyle(el).color;
    context.textBaseline = "middle";
    labels.forEach((label, i) => {
      context.textAlign = "right";
      context.fillText(label, MARGIN - 4, MARGIN + (i + 0.5) * cell, MARGIN - 6);
      context.save();
      context.translate(MARGIN + (i + 0.5) * cell, MARGIN - 4);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(label, 0, 0, MARGIN - 6);
      context.restore();
    });
    context.textAlign = "right";
    context.fillText("a ↓   b →", MARGIN - 4, MARGIN - 8);
    for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: colour });
      context.strokeRect(MARGIN + b * cell, MARGIN + a * cell, cell, cell);
    }
    canvas.setAttribute("aria-label", `${words(a, b)}; rows are a, columns b; arrow keys choose another cell`);
    told.textContent = words(a, b);
  };
  const names = ["labels", "values", "chosen", "name"].map((name) => `change:${name}`).join(" ");
  model.on(names, draw);
  const shown = new ResizeObserver(draw); // words have the page's colour, which is known once they stand in it
  shown.observe(canvas);
  canvas.ontransitionend = draw; // another theme
  return () => { shown.disconnect(); model.off(names, draw); };
}
export default { render };
