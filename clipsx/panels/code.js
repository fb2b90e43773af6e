// A button that shows the code of the present picture and copies it.
function render({ model, el }) {
  el.classList.add("clipsx", "clipsx-code");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "clipsx-button", textContent: "Copy code" });
  const told = Object.assign(document.createElement("span"), { className: "clipsx-quiet" });
  told.setAttribute("role", "status");
  const pre = Object.assign(document.createElement("pre"), { hidden: true, tabIndex: 0 });
  pre.setAttribute("aria-label", "code that makes this picture again");
  button.onclick = async () => {
    pre.hidden = false;
    try {
      await navigator.clipboard.writeText(model.get("code"));
      told.textContent = "  copied";
    } catch {
      getSelection().selectAllChildren(pre);
      told.textContent = "  the browser allows no copying here: the code is selected, press Ctrl C";
    }
  };
  const draw = () => { pre.textContent = model.get("code"); told.textContent = ""; };
  model.on("change:code", draw);
  draw();
  el.append(button, told, pre);
  const unnamed = nameControls(el, () => model.get("alt"));
  return () => { unnamed(); model.off("change:code", draw); };
}
export default { render };
