// The names of classes: typed in here, or those the server has for the version.

import { button, el, fill } from "./dom.js";
import { labels as askLabels } from "./api.js";
import { recall, remember } from "./store.js";

/** Labels of one model. @param changed called when there are others. */
export function labelBook(model, changed) {
  const key = `labels:${model}`;
  const served = new Map();
  let typed = recall(key);
  let problem = "";

  async function load(version) {
    if (served.has(version)) return;
    served.set(version, null);
    try {
      const answer = await askLabels(model, version);
      served.set(version, answer.labels);
      problem = answer.error ?? "";
      if (answer.labels || problem) changed();
    } catch {
      // Labels are a comfort; the model page works without.
    }
  }

  /** The labels for answers of a version, or null. */
  const of = (version) => typed ?? served.get(version) ?? null;

  function editor(version) {
    const area = el("textarea", {
      rows: 6, spellcheck: "false", "aria-label": "Names of classes, one per line",
      value: (of(version) ?? []).join("\n"), placeholder: "cat\ndog",
    });
    const note = el("p", { class: "hint", role: "status" }, problem || sourceText(version));
    const apply = () => {
      const lines = area.value.trim() ? area.value.replace(/\s+$/, "").split("\n").map((line) => line.trim()) : null;
      typed = lines;
      remember(key, typed);
      fill(note, sourceText(version));
      changed();
    };
    return el("details", { class: "labels" }, el("summary", {}, "Names of classes"), area,
      el("div", { class: "row" }, button("Use these names", apply), note));
  }

  function sourceText(version) {
    if (typed) return "Typed in, and kept in this browser.";
    return served.get(version) ? "From the server." : "One per line, in the order of the model's outputs.";
  }

  return { load, of, editor, forget: () => served.clear() };
}
