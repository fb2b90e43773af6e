// JupyterLab takes every key of a page before its own element does, "x" to cut the cell, unless that very element is marked.
// Marked is whatever has the focus in a panel, stock controls too; only Ctrl S, which saves the notebook, stays JupyterLab's.
function markFocused(event) {
  if (!event.target.closest?.(".clipsx-panel")) return;
  const saves = event.type === "keydown" && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s";
  if (saves) event.target.removeAttribute("data-lm-suppress-shortcuts");
  else event.target.setAttribute("data-lm-suppress-shortcuts", "true");
}
if (!window.clipsxKeys) { // once in a page
  window.clipsxKeys = true;
  for (const type of ["focusin", "keydown"]) window.addEventListener(type, markFocused, true);
}
