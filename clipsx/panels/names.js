// Stock controls leave parts without a name for a screen reader: handles of sliders, their numbers, switches, figures.
function nameControls(el, alt) {
  let watch = null;
  const name = (panel) => {
    for (const icon of panel.querySelectorAll("button > i")) icon.setAttribute("aria-hidden", true);
    for (const image of panel.querySelectorAll("img.widget-image")) image.alt = alt();
    for (const control of panel.querySelectorAll(".widget-dropdown, .widget-slider, .widget-toggle-buttons")) {
      const select = control.querySelector("select"), handle = control.querySelector(".noUi-handle");
      const number = control.querySelector(".widget-readout"), group = control.querySelector(":scope > div");
      const label = control.querySelector(".widget-label").textContent || select.title;
      if (select) select.setAttribute("aria-label", label);
      else if (handle) {
        handle.setAttribute("aria-label", label);
        handle.setAttribute("aria-valuetext", number.textContent);
        if (number.isContentEditable) for (const [key, value] of [["role", "textbox"], ["aria-label", `${label}, typed`]]) number.setAttribute(key, value);
      } else {
        group.setAttribute("role", "group");
        group.setAttribute("aria-label", label);
        for (const button of group.children) button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
      }
    }
  };
  const begin = new ResizeObserver(() => { // it stands in its panel once it is shown
    const panel = el.closest(".clipsx-panel");
    if (!panel || watch) return;
    watch = new MutationObserver(() => name(panel));
    watch.observe(panel, { subtree: true, childList: true, attributeFilter: ["class"] });
    name(panel);
  });
  begin.observe(el);
  return () => { begin.disconnect(); watch?.disconnect(); };
}
