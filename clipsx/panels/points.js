// A photo with points on an object (+) and beside it (×): drag, click, or keys; Python answers with the mask's outline.
const COLOURS = ["#d55e00", "#029e73"], NEAR = 12;
function render({ model, el }) {
  el.classList.add("clipsx", "clipsx-points");
  const canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
  canvas.setAttribute("role", "application");
  const bar = Object.assign(document.createElement("div"), { className: "clipsx-own" });
  const told = Object.assign(document.createElement("div"), { className: "clipsx-quiet" });
  told.setAttribute("aria-live", "polite");
  el.append(canvas, bar, told);
  let points = [], chosen = -1, dragged = false, photo = null, drawn = null;

  const size = () => model.get("picture").size || [1, 1];
  const inside = (x, y) => [Math.max(0, Math.min(size()[0] - 1, Math.floor(x))), Math.max(0, Math.min(size()[1] - 1, Math.floor(y)))];
  const put = () => { model.set("points", points.map((p) => [...p])); model.save_changes(); draw(); };
  const add = (x, y, on) => { points = [...points, [...inside(x, y), on]]; chosen = points.length - 1; put(); };
  const move = (dx, dy) => { if (points[chosen]) { points[chosen] = [...inside(points[chosen][0] + dx, points[chosen][1] + dy), points[chosen][2]]; put(); } };
  const remove = () => { if (points[chosen]) { points.splice(chosen, 1); chosen = Math.min(chosen, points.length - 1); put(); } };
  const turn = () => { if (points[chosen]) { points[chosen] = [points[chosen][0], points[chosen][1], 1 - points[chosen][2]]; put(); } };
  const step = (by) => { if (points.length) { chosen = (chosen + by + points.length) % points.length; draw(); } };
  const centre = (on) => { const [x, y] = points[chosen] || size().map((n) => n / 2), far = Math.max(2, size()[0] / 16); add(x + (points[chosen] ? far : 0), y, on); };
  const ask = () => { model.set("points", null); model.save_changes(); }; // by the same road as points: never overtaken
  const button = (text, title, act) => {
    const b = Object.assign(document.createElement("button"), { type: "button", className: "clipsx-button", textContent: text, title, onclick: act });
    b.setAttribute("aria-label", title);
    bar.append(b);
  };
  button("+ on", "add a point on the object", () => centre(1));
  button("× beside", "add a point beside the object", () => centre(0));
  button("⇄", "turn the chosen point: on the object or beside it", turn);
  button("remove", "remove the chosen point", remove);
  button("from the map", "take the points that the map gives", ask);

  const at = (event) => {
    const box = canvas.getBoundingClientRect(), [w, h] = size();
    return [((event.clientX - box.left) / box.width) * w, ((event.clientY - box.top) / box.height) * h];
  };
  canvas.onpointerdown = (event) => {
    const [x, y] = at(event), reach = (NEAR * size()[0]) / canvas.getBoundingClientRect().width;
    const far = points.map((p) => Math.hypot(p[0] + 0.5 - x, p[1] + 0.5 - y));
    const nearest = far.indexOf(Math.min(...far));
    if (nearest >= 0 && far[nearest] <= reach) {
      chosen = nearest;
      dragged = true;
      canvas.setPointerCapture(event.pointerId);
      draw();
    } else add(x, y, event.shiftKey ? 0 : 1);
  };
  canvas.onpointermove = (event) => { if (dragged && points[chosen]) { points[chosen] = [...inside(...at(event)), points[chosen][2]]; draw(); } };
  canvas.onpointerup = canvas.onpointercancel = () => { if (dragged) { dragged = false; put(); } };
  canvas.onkeydown = (event) => {
    const far = event.shiftKey ? 10 : 1;
    const act = {
      ArrowUp: () => move(0, -far), ArrowDown: () => move(0, far), ArrowLeft: () => move(-far, 0), ArrowRight: () => move(far, 0),
      PageDown: () => step(1), PageUp: () => step(-1), "+": () => centre(1), "-": () => centre(0), " ": turn,
      Delete: remove, Backspace: remove, Escape: ask,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  const words = () => {
    const p = points[chosen], count = [1, 0].map((on) => points.filter((q) => q[2] === on).length);
    const all = `${count[0]} points on the object, ${count[1]} beside it`;
    return p ? `point ${chosen + 1} of ${points.length}, ${p[2] ? "on the object" : "beside it"}, at x ${p[0]}, y ${p[1]}; ${all}` : all;
  };
  function draw() {
    if (!photo || drawn !== model.get("picture").bytes) return;
    const [w, h] = size(), scale = window.devicePixelRatio || 1;
    const width = Math.round((canvas.clientWidth || 384) * scale), height = Math.max(1, Math.round((width * h) / w));
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.drawImage(photo, 0, 0, width, height);
    pen.save();
    pen.scale(width / w, height / h);
    const line = (scale * w) / width, mask = new Path2D(model.get("mask")), truth = new Path2D(model.get("picture").truth);
    pen.fillStyle = "#0173b270";
    pen.fill(mask, "evenodd");
    for (const [path, shades] of [[truth, ["#000b", "#fff"]], [mask, ["#fff", "#0173b2"]]])
      for (const [colour, thick] of [[shades[0], 4], [shades[1], 2]]) {
        Object.assign(pen, { strokeStyle: colour, lineWidth: thick * line, lineJoin: "round" });
        pen.stroke(path);
      }
    pen.restore();
    points.forEach(([x, y, on], k) => {
      const [cx, cy] = [((x + 0.5) * width) / w, ((y + 0.5) * height) / h], r = 6 * scale;
      for (const [colour, thick] of [["#fff", 6], [COLOURS[on], 3]]) {
        Object.assign(pen, { strokeStyle: colour, lineWidth: thick * scale, lineCap: "round" });
        const arms = on ? [[r, 0], [0, r]] : [[0.7 * r, 0.7 * r], [0.7 * r, -0.7 * r]];
        pen.beginPath();
        for (const [dx, dy] of arms) { pen.moveTo(cx - dx, cy - dy); pen.lineTo(cx + dx, cy + dy); }
        pen.stroke();
      }
      if (k === chosen) {
        Object.assign(pen, { strokeStyle: "#1f6feb", lineWidth: 2 * scale });
        pen.beginPath();
        pen.arc(cx, cy, 1.8 * r, 0, 7);
        pen.stroke();
      }
    });
    told.textContent = words();
    canvas.setAttribute("aria-label", `${words()}. Page up and down choose a point, arrow keys move it (Shift: by ten), Space turns it, Delete removes it, plus and minus add one, Escape takes the map's`);
    el.dataset.drawn = Number(el.dataset.drawn || 0) + 1;
  }
  const load = photograph(model, (next, bytes) => { photo = next; drawn = bytes; draw(); });
  const take = () => { if (!dragged && model.get("points")) { points = model.get("points").map((p) => [...p]); chosen = Math.min(chosen, points.length - 1); draw(); } };
  model.on("change:points", take);
  model.on("change:mask", draw);
  model.on("change:picture", load);
  take();
  load();
  return () => { model.off("change:points", take); model.off("change:mask", draw); model.off("change:picture", load); };
}
export default { render };
