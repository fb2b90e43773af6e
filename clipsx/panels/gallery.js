// Thumbnails to choose from, and a picture of one's own: upload, paste or drop.
const url = (bytes) => URL.createObjectURL(new Blob([bytes]));

function render({ model, el }) {
  el.classList.add("clipsx", "clipsx-gallery");
  const thumbs = document.createElement("div");
  thumbs.className = "clipsx-gallery";
  thumbs.setAttribute("role", "group");
  thumbs.setAttribute("aria-label", "gallery of samples");
  const button = (text, title, act) => {
    const b = document.createElement("button");
    Object.assign(b, { type: "button", className: "clipsx-button", textContent: text, title, onclick: act });
    b.setAttribute("aria-label", title);
    return b;
  };
  const turn = (step) => { model.set("page", model.get("page") + step); model.save_changes(); };
  const back = button("‹", "earlier samples", () => turn(-1));
  const on = button("›", "more samples", () => turn(1));

  const own = document.createElement("div");
  own.className = "clipsx-own";
  const file = Object.assign(document.createElement("input"), { type: "file", accept: "image/*", hidden: true });
  file.setAttribute("aria-label", "picture file");
  const paste = Object.assign(document.createElement("input"), { className: "clipsx-paste", placeholder: "paste a picture here" });
  paste.setAttribute("aria-label", "paste a picture from the clipboard here");
  const send = async (chosen) => {
    if (!chosen) return model.send({ kind: "refused", words: "The clipboard holds no picture: copy one and paste again." });
    if (chosen.size > model.get("limit")) {
      const megabytes = (n) => `${(n / 1e6).toFixed(1)} MB`;
      return model.send({ kind: "refused", words: `${chosen.name || "The picture"} is ${megabytes(chosen.size)}; at most ${megabytes(model.get("limit"))} can be sent. Make it smaller first.` });
    }
    model.send({ kind: "picture", name: chosen.name || "pasted" }, undefined, [await chosen.arrayBuffer()]);
  };
  file.onchange = () => { if (file.files.length) send(file.files[0]); file.value = ""; };
  paste.onpaste = (event) => { event.preventDefault(); send([...event.clipboardData.files].find((f) => f.type.startsWith("image/"))); };
  paste.oninput = () => { paste.value = ""; };
  el.ondragover = (event) => { event.preventDefault(); el.classList.add("clipsx-over"); };
  el.ondragleave = () => el.classList.remove("clipsx-over");
  el.ondrop = (event) => { event.preventDefault(); event.stopPropagation(); el.classList.remove("clipsx-over"); if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]); };
  own.append(button("Upload…", "upload a picture of your own", () => file.click()), paste, file);
  el.append(thumbs, own);

  const draw = () => {
    const focused = [...thumbs.children].indexOf(document.activeElement);
    thumbs.querySelectorAll("img").forEach((img) => URL.revokeObjectURL(img.src));
    back.disabled = model.get("page") <= 0;
    on.disabled = model.get("page") >= model.get("pages") - 1;
    const buttons = model.get("thumbs").map(({ bytes, name, key }) => {
      const b = document.createElement("button");
      Object.assign(b, { type: "button", className: "clipsx-thumb", title: name });
      b.setAttribute("aria-label", name);
      b.setAttribute("aria-pressed", key === model.get("chosen"));
      b.onclick = () => { model.set("chosen", key); model.save_changes(); };
      b.append(Object.assign(document.createElement("img"), { src: url(bytes), alt: "" }));
      return b;
    });
    thumbs.replaceChildren(...(model.get("pages") > 1 ? [back, ...buttons, on] : buttons));
    if (focused >= 0 && thumbs.children[focused]) thumbs.children[focused].focus();
  };
  thumbs.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step && thumbs.children[[...thumbs.children].indexOf(document.activeElement) + step];
    if (next) { event.preventDefault(); next.focus(); }
  };
  model.on("change:thumbs change:chosen change:page change:pages", draw);
  draw();
  return () => model.off("change:thumbs change:chosen change:page change:pages", draw);
}
export default { render };
