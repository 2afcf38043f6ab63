// What is known of a model's versions beside their signatures: what they say of themselves, and the
// names of classes: typed in here, or those the server has.

import { button, el, fill } from "./dom.js";
import { description as askDescription, labels as askLabels } from "./api.js";
import { recall, remember } from "./store.js";

const NOTHING = { about: null, warnings: [], labels_come_first: false };

/** What the versions of a model say of themselves. */
export function descriptionBook(model) {
  const known = new Map();

  /** Resolves to {about, warnings, error?, labels_come_first, optional?}. */
  function load(version) {
    if (!known.has(version)) {
      known.set(version, askDescription(model, version).catch(() => {
        known.delete(version); // a comfort: the model page works without, and asks again
        return NOTHING;
      }));
    }
    return known.get(version);
  }

  return { load, forget: () => known.clear() };
}

/** Labels of one model. @param changed called when there are others. */
export function labelBook(model, descriptions, changed) {
  const key = `labels:${model}`;
  const served = new Map();
  const said = new Map();
  let typed = recall(key);
  let problem = "";

  async function load(version) {
    said.set(version, await descriptions.load(version));
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

  const ofOutput = (version, signature, output) =>
    said.get(version)?.about?.signatures?.[signature]?.outputs?.[output]?.labels ?? null;

  /** The labels for an output of a version, or null. */
  function of(version, signature, output) {
    const all = served.get(version) ?? null;
    const own = ofOutput(version, signature, output);
    return typed ?? (said.get(version)?.labels_come_first ? all ?? own : own ?? all);
  }

  function editor(version, signature, output) {
    const area = el("textarea", {
      rows: 6, spellcheck: "false", "aria-label": "Names of classes, one per line",
      value: (of(version, signature, output) ?? []).join("\n"), placeholder: "cat\ndog",
    });
    const note = el("p", { class: "hint", role: "status" }, problem || sourceText());
    const apply = () => {
      const lines = area.value.trim() ? area.value.replace(/\s+$/, "").split("\n").map((line) => line.trim()) : null;
      typed = lines;
      remember(key, typed);
      fill(note, sourceText());
      changed();
    };

    function sourceText() {
      if (typed) return "Typed in, and kept in this browser.";
      if (of(version, signature, output) === null) return "One per line, in the order of the model's outputs.";
      return of(version, signature, output) === ofOutput(version, signature, output) ? "As the model says." : "From the server.";
    }

    return el("details", { class: "labels" }, el("summary", {}, "Names of classes"), area,
      el("div", { class: "row" }, button("Use these names", apply), note));
  }

  return { load, of, editor, forget: () => { served.clear(); said.clear(); } };
}
