// The same request as programs to copy.

import { button, copyText, download, el, fill, segments } from "./dom.js";
import { write } from "./json.js";
import { snippets } from "./snippets.js";
import { openInference } from "./snippets_v2.js";
import { recall, remember } from "./store.js";

/** The panel. `show(ask)`: see snippets.js; `showNothing()` where there is no input yet. */
export function requestPanel() {
  const place = el("div", { class: "snippets" });
  const element = el("section", { class: "card", "aria-labelledby": "request-title" },
    el("h2", { id: "request-title" }, "The same request from a program"), place);
  let shown = null;

  function show(ask) {
    const { programs: own, usesFile } = snippets(ask);
    const programs = ask.hasOpenInference ? [...own, ...openInference({ ...ask, usesFile })] : own;
    const kept = recall("snippet", "curl");
    let current = programs.find(({ name }) => name === kept) ?? programs[0];
    const code = el("pre", { class: "code scroll", tabindex: 0, "aria-label": "The program" });
    const note = el("p", { class: "hint" });
    const copy = button("Copy", async () => {
      fill(copy, (await copyText(current.text)) ? "Copied" : "Select and copy it by hand");
      setTimeout(() => fill(copy, "Copy"), 1500);
    });
    const draw = () => {
      fill(code, current.text);
      fill(note, current.note ?? "");
    };
    const tabs = segments("Language", programs.map(({ name }) => [name, name]), current.name, (name) => {
      current = programs.find((each) => each.name === name);
      remember("snippet", name);
      draw();
    });
    draw();
    shown = ask;
    fill(place, tabs, code, el("div", { class: "row" }, copy, usesFile
      ? button("Save request.json", () => download("request.json", write(shown.body)))
      : null, note));
  }

  function showNothing() {
    fill(place, el("p", { class: "placeholder" }, "Give the model an input, and the request will appear here."));
  }

  showNothing();
  return { element, show, showNothing };
}
