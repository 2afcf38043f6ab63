// Earlier runs of a model, kept in this browser: what was asked, what came, and the input to use again.

import { button, el, fill } from "./dom.js";
import { latencyText } from "./units.js";
import { recall, remember } from "./store.js";

const MOST_RUNS = 20;
const MOST_BODY = 8000; // characters; a larger input is listed, but cannot be used again
const MOST_WORDS = 120;
const CALM_MS = 1500; // a run on change is kept when nothing has followed for so long

/**
 * The panel.
 * @param ask {model, use(run)}
 * @returns {{element, add(run, isQuiet)}} run: {signature, version, body, words, ms, isError}
 */
export function runsPanel({ model, use }) {
  const key = `runs:${model}`;
  let runs = recall(key, []);
  let timer = 0;
  const list = el("ul", { class: "runs" });
  const summary = el("summary", {});
  const element = el("details", { class: "card earlier" }, summary, list,
    el("div", { class: "row" }, button("Forget them", forget, { class: "quiet" }), el("p", { class: "hint" }, "Kept in this browser alone.")));

  function add(run, isQuiet) {
    clearTimeout(timer);
    if (isQuiet) timer = setTimeout(() => keep(run), CALM_MS);
    else keep(run);
  }

  function keep({ body, words, ...run }) {
    const isSame = (other) => other.body !== null && other.body === body && other.version === run.version && other.signature === run.signature;
    const kept = { ...run, at: Date.now(), body: body.length <= MOST_BODY ? body : null, words: words.slice(0, MOST_WORDS) };
    runs = [kept, ...runs.filter((other) => !isSame(other))].slice(0, MOST_RUNS);
    remember(key, runs);
    draw();
  }

  function forget() {
    runs = [];
    remember(key, null);
    draw();
  }

  function draw() {
    element.hidden = runs.length === 0;
    fill(summary, el("h2", {}, "Earlier runs"), el("span", { class: "hint" }, ` ${runs.length}`));
    fill(list, runs.map((run) => el("li", {},
      el("time", { class: "hint", datetime: new Date(run.at).toISOString() }, timeText(run.at)),
      el("span", { class: "chip" }, `Version ${run.version || "?"}`),
      el("span", { class: run.isError ? "words bad" : "words", dir: "auto" }, run.words),
      el("span", { class: "hint digits" }, latencyText(run.ms)),
      run.body === null ? el("span", { class: "hint" }, "too large to keep") : button("Use again", () => use(run), { class: "quiet" }))));
  }

  draw();
  return { element, add };
}

function timeText(at) {
  const moment = new Date(at);
  const isToday = moment.toDateString() === new Date().toDateString();
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return isToday ? time : `${moment.toLocaleDateString([], { month: "short", day: "numeric" })}, ${time}`;
}
