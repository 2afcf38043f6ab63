// The input card: the form or the JSON of the request, and the button that sends it.

import { button, el, fill, segments, tick } from "./dom.js";
import { parse, pretty, write } from "./json.js";
import { InputError } from "./request.js";
import { inputKinds } from "./shapes.js";
import { signatureForm } from "./inputs/form.js";
import { recall, remember } from "./store.js";

const MOST_SHOWN = 200000; // characters of JSON that a text field still handles well
const PAUSE_MS = 120;

/**
 * The card.
 * @param ask {key, signature, send(bodyText), changed(body|null), refuse(error)}
 */
export function inputPanel({ key, signature, send, changed, refuse }) {
  const form = signatureForm({ key, signature, changed: formChanged });
  const place = el("div");
  const area = el("textarea", { class: "code json", rows: 14, spellcheck: "false", "aria-label": "The request as JSON", oninput: tell });
  const note = el("p", { class: "hint", role: "status" });
  const suitsLive = signature.inputs.some((spec) => ["pad", "picture"].includes(inputKinds(spec, signature.call)[0]));
  let isLive = recall(`live:${key}`, suitsLive);
  let isJson = false;
  let isWhole = true; // whether the text field holds all of the request
  let timer = 0;

  function formChanged() {
    tell();
    clearTimeout(timer);
    if (isLive) timer = setTimeout(() => run(true), PAUSE_MS);
  }

  /** The body as it stands. Throws InputError. */
  function body() {
    if (!isJson || !isWhole) return form.body();
    try {
      return parse(area.value);
    } catch (error) {
      throw new InputError(`The JSON cannot be read: ${error.message}`);
    }
  }

  function tell() {
    try {
      changed(body());
    } catch {
      changed(null);
    }
  }

  function run(isQuiet = false) {
    try {
      // As typed: the server says best what is wrong with it.
      send(isJson && isWhole ? area.value : write(body()));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (!isQuiet) refuse(error);
    }
  }

  function showJson() {
    isJson = true;
    let text = "";
    try {
      text = pretty(form.body());
    } catch (error) {
      fill(note, error.message);
    }
    isWhole = text.length <= MOST_SHOWN;
    area.readOnly = !isWhole;
    area.value = isWhole ? text : `${text.slice(0, 3000)}\n…`;
    if (!isWhole) fill(note, `Only the beginning of ${Math.round(text.length / 1000).toLocaleString("en")} kB; the whole is sent.`);
    fill(place, area);
    area.focus();
    area.setSelectionRange(0, 0); // the beginning is what says what it is
    area.scrollTop = 0;
  }

  function showForm() {
    fill(note, "");
    if (isJson && isWhole && area.value.trim()) {
      try {
        const edited = parse(area.value);
        if (write(edited) !== written() && !form.accept(edited)) {
          fill(note, "The form cannot show what was typed as JSON; it keeps its own input.");
        }
      } catch {
        fill(note, "The JSON cannot be read; the form keeps its own input.");
      }
    }
    isJson = false;
    fill(place, form.element);
    tell();
  }

  function written() {
    try {
      return write(form.body());
    } catch {
      return "";
    }
  }

  const runButton = button("Run", () => run(), { class: "primary", title: "Ctrl+Enter", "aria-keyshortcuts": "Control+Enter" });
  const element = el(
    "section",
    { class: "card", "aria-labelledby": "input-title" },
    el("header", {}, el("h2", { id: "input-title" }, "Input"),
      segments("Form or JSON", [["form", "Form"], ["json", "JSON"]], "form", (mode) => (mode === "json" ? showJson() : showForm()))),
    place, note,
    el("div", { class: "row run" }, runButton, tick("Answer at once", isLive, (value) => {
      isLive = value;
      remember(`live:${key}`, value);
      if (value) run(true);
    })),
  );
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  fill(place, form.element);
  return { element, body, run, tell };
}
