// Labels as chips: choose one to look at, add, edit, remove. Every change goes to `labels`; Python answers with what it accepts.
function render({ model, el }) {
  el.classList.add("clipsx", "clipsx-chips");
  const chips = document.createElement("div");
  chips.className = "clipsx-chips";
  chips.setAttribute("role", "radiogroup");
  chips.setAttribute("aria-label", "labels; arrow keys choose the one shown, Delete removes it, F2 edits it");
  const input = Object.assign(document.createElement("input"), { placeholder: "+ label", autocomplete: "off" });
  input.setAttribute("aria-label", "add a label; a comma separates several");
  const known = document.createElement("datalist");
  known.id = `clipsx-known-${Math.random().toString(36).slice(2)}`;
  input.setAttribute("list", known.id);
  const empty = Object.assign(document.createElement("button"), { type: "button", className: "clipsx-button", textContent: "∅", title: "add the empty label: what every label's map has in common", onclick: () => add("") });
  empty.setAttribute("aria-label", "add the empty label");
  el.append(chips, input, empty, known);
  let editing = null; // place of the label that the input stands for

  const put = (values) => { for (const [key, value] of Object.entries(values)) model.set(key, value); model.save_changes(); };
  const choose = (i) => put({ shown: i });
  const remove = (i) => {
    const labels = model.get("labels").filter((_, k) => k !== i);
    const shown = model.get("shown");
    put({ labels, shown: Math.max(0, Math.min(shown > i ? shown - 1 : shown, labels.length - 1)) });
  };
  const edit = (i) => { editing = i; input.value = model.get("labels")[i]; input.focus(); input.select(); };
  const add = (text) => {
    const words = text.split(",").map((word) => word.trim()).filter(Boolean);
    const labels = [...model.get("labels")];
    const place = editing === null ? labels.length : editing;
    labels.splice(place, editing === null ? 0 : 1, ...(words.length ? words : [text])); // blanks too: Python says what is wrong with them
    editing = null;
    input.value = "";
    put({ labels, shown: place });
  };
  const draw = () => {
    const focused = chips.contains(document.activeElement);
    const scores = model.get("scores");
    chips.replaceChildren(...model.get("labels").map((label, i) => {
      const chosen = i === model.get("shown");
      const chip = document.createElement("span");
      chip.className = `clipsx-chip${chosen ? " chosen" : ""}`;
      const name = document.createElement("button");
      Object.assign(name, { type: "button", textContent: label === "" ? "(empty label)" : label, tabIndex: chosen ? 0 : -1, onclick: () => choose(i), ondblclick: () => edit(i) });
      name.setAttribute("role", "radio");
      name.setAttribute("aria-checked", chosen);
      if (scores[i] !== undefined) {
        const score = document.createElement("span");
        Object.assign(score, { className: "clipsx-score", textContent: scores[i].toFixed(2), title: "softmax over these labels, class token" });
        name.append(score);
      }
      const cross = document.createElement("button");
      Object.assign(cross, { type: "button", textContent: "×", tabIndex: -1, onclick: () => remove(i) });
      cross.setAttribute("aria-label", `remove ${label || "the empty label"}`);
      chip.append(name, cross);
      return chip;
    }));
    known.replaceChildren(...model.get("known").map((label) => Object.assign(document.createElement("option"), { value: label })));
    if (focused) (chips.querySelector('[aria-checked="true"]') || input).focus();
  };
  chips.onkeydown = (event) => {
    const count = model.get("labels").length;
    const shown = model.get("shown");
    const act = {
      ArrowRight: () => choose((shown + 1) % count), ArrowLeft: () => choose((shown + count - 1) % count),
      Delete: () => remove(shown), Backspace: () => remove(shown), F2: () => edit(shown),
    }[event.key];
    if (act && count) { event.preventDefault(); act(); }
  };
  input.onkeydown = (event) => {
    if (event.key === "Enter" && input.value) { event.preventDefault(); add(input.value); }
    if (event.key === "Escape") { editing = null; input.value = ""; }
  };
  const events = "change:labels change:shown change:scores change:known";
  model.on(events, draw);
  draw();
  return () => model.off(events, draw);
}
export default { render };
