// The input card: the form or the JSON of the request, and the button that sends it.

import { button, copyText, el, fill, segments, tick } from "./dom.js";
import { parse, pretty, write } from "./json.js";
import { InputError } from "./request.js";
import { givenExamples } from "./inputs/given.js";
import { signatureForm } from "./inputs/form.js";
import { recall, remember } from "./store.js";

const MOST_SHOWN = 200000; // characters of JSON that a text field still handles well
const PAUSE_MS = 120;

/**
 * The card.
 * @param ask {key, model, version(), signature, send(bodyText, {isQuiet, thumbnails}), changed(body|null),
 *     refuse(error), link(bodyText)}; link is a promise of an address.
 * @returns {{element, run(isQuiet), tell(), put(bodyText), isLive()}}
 */
export function inputPanel({ key, model, version, signature, send, changed, refuse, link }) {
  const form = signatureForm({ key, signature, changed: formChanged });
  const place = el("div");
  const mode = el("div");
  const area = el("textarea", { class: "code json", rows: 14, spellcheck: "false", "aria-label": "The request as JSON", oninput: tell });
  const note = el("p", { class: "hint", role: "status" });
  const suitsLive = signature.inputs.some(({ meaning }) => ["pad", "picture"].includes(meaning.kinds[0]));
  let isLive = recall(`live:${key}`, suitsLive);
  let isJson = false;
  let isWhole = true; // whether the text field holds all of the request
  let timer = 0;

  function formChanged() {
    fill(note);
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

  /** As typed: the server says best what is wrong with it. */
  const text = () => (isJson && isWhole ? area.value : write(body()));

  function run(isQuiet = false) {
    try {
      send(text(), { isQuiet, thumbnails: isJson ? [] : form.thumbnails() });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (!isQuiet) refuse(error);
    }
  }

  function showJson(typed = null) {
    isJson = true;
    let json = typed ?? "";
    try {
      if (typed === null) json = pretty(form.body());
    } catch (error) {
      fill(note, error.message);
    }
    isWhole = json.length <= MOST_SHOWN;
    area.readOnly = !isWhole;
    area.value = isWhole ? json : `${json.slice(0, 3000)}\n…`;
    if (!isWhole) fill(note, `Only the beginning of ${Math.round(json.length / 1000).toLocaleString("en")} kB; the whole is sent.`);
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

  /** Shows a request that comes from elsewhere: in the form, or as JSON where that has no place for it. */
  function put(json, words = "") {
    let isShown = false;
    try {
      isShown = form.accept(parse(json));
    } catch {
      // It is for the server to say what is wrong with it.
    }
    if (isShown) {
      isJson = false;
      fill(place, form.element);
    } else showJson(json);
    drawMode();
    fill(note, words);
    tell();
  }

  function drawMode() {
    fill(mode, segments("Form or JSON", [["form", "Form"], ["json", "JSON"]], isJson ? "json" : "form", (next) => (next === "json" ? showJson() : showForm())));
  }

  async function giveExample(example) {
    const isShown = await form.give(example);
    if (isShown && isJson) {
      isJson = false;
      fill(place, form.element);
      drawMode();
    }
    return isShown;
  }

  async function copyLink() {
    try {
      const done = await copyText(await link(text()));
      fill(note, done ? "A link with this input is on the clipboard." : "The browser does not let a page copy.");
    } catch (error) {
      fill(note, error instanceof InputError ? error.message : "No link can be made of this input.");
    }
  }

  const runButton = button("Run", () => run(), { class: "primary", title: "Ctrl+Enter", "aria-keyshortcuts": "Control+Enter" });
  const examples = givenExamples({
    model, version, signature, refuse, give: giveExample,
    done: () => {
      tell();
      run();
    },
  });
  const element = el(
    "section",
    { class: "card", "aria-labelledby": "input-title" },
    el("header", {}, el("h2", { id: "input-title" }, "Input"), mode),
    examples, place, note,
    el("div", { class: "row run" }, runButton, tick("Run on change", isLive, (value) => {
      isLive = value;
      remember(`live:${key}`, value);
      if (value) run(true);
    }), button("Copy link", copyLink, { class: "quiet" })),
  );
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  drawMode();
  fill(place, form.element);
  return { element, run, tell, put, isLive: () => isLive };
}
