// The list of models, with what their versions are doing.

import { el, fill, jointed } from "./dom.js";
import { modelAddress } from "./link.js";
import { modelState } from "./states.js";

/** @returns {{element, show(models, current)}} */
export function sidebar() {
  const list = el("ul", { class: "models" });
  let drawn = "";

  function show(models, current) {
    const now = JSON.stringify([models, current]);
    if (now === drawn) return; // so that focus and selection stay where they are
    drawn = now;
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    fill(list, models.length ? models.map((model) => entry(model, current)) : el("li", { class: "hint" }, "No models yet."));
    const here = list.querySelector("[aria-current]");
    if (here) list.scrollLeft = here.offsetLeft - list.offsetLeft - 16; // a row of them on a phone
    if (focused) [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }

  const element = el("nav", { class: "sidebar", "aria-labelledby": "models-title" }, el("h2", { id: "models-title" }, "Models"), list);
  return { element, show };
}

function entry(model, current) {
  const { words, tone } = modelState(model);
  const isCurrent = model.name === current;
  return el("li", {}, el(
    "a",
    { href: modelAddress(model.name), "aria-current": isCurrent ? "page" : null },
    el("span", { class: "model-name", dir: "auto" }, jointed(model.name)),
    el("span", { class: "state" }, el("i", { class: `dot ${tone}`, "aria-hidden": "true" }), words),
  ));
}
