// What the model answered: one version, or two side by side.

import { button, el, fill } from "./dom.js";
import { outputsOf } from "./results.js";
import { viewsFor } from "./outputs/sense.js";
import { outputView, summary } from "./outputs/output.js";
import { pretty } from "./json.js";
import { withoutNodes } from "./messages.js";
import { latencyText, sizeText } from "./units.js";

const SLOW_MS = 700; // from when an answer is waited for
const MOST_RAW = 50000; // characters; more would make the page slow

/** The panel. @param ask {labels: see labels.js} */
export function resultPanel({ labels }) {
  const body = el("div", { class: "result-body" });
  const waiting = el("p", { class: "hint", role: "status" });
  const live = el("p", { class: "sr", role: "status", "aria-live": "polite" });
  const element = el("section", { class: "card result", "aria-labelledby": "result-title" },
    el("h2", { id: "result-title" }, "Result"), live, waiting, body);
  let states = new Map();
  let last = null;
  let timer = 0;

  function empty() {
    last = null;
    states = new Map();
    idle();
    fill(body, el("p", { class: "placeholder" }, "The answer will appear here."));
  }

  /** @param cancel called by the button that stands there while a model takes its time. */
  function busy(cancel) {
    idle();
    element.setAttribute("aria-busy", "true");
    timer = setTimeout(() => fill(waiting, "Waiting for the answer … ", button("Cancel", cancel, { class: "quiet" })), SLOW_MS);
  }

  function idle() {
    clearTimeout(timer);
    fill(waiting);
    element.removeAttribute("aria-busy");
  }

  /**
   * @param answers [{name, value, ms, version, text} or {name, error}], one or two.
   * @param thumbnails of the pictures that were sent, one a row, if there are any.
   */
  function show(signature, answers, thumbnails = []) {
    last = { signature, answers, thumbnails };
    idle();
    const good = answers.filter(({ error }) => !error);
    fill(
      body,
      el("div", { class: "facts" }, good.map(facts)),
      answers.filter(({ error }) => error).map((answer) => errorBox(answer, answers.length > 1)),
      good.length ? outputs(signature, good, thumbnails) : null,
      editor(signature, good),
      good.map((answer) => raw(answer, good.length > 1)),
    );
    fill(live, spoken(signature, answers));
  }

  function facts({ name, version, ms, bytes }) {
    return el("p", {}, el("span", { class: "chip" }, version ? `Version ${version}` : name),
      el("span", {}, latencyText(ms)), el("span", {}, sizeText(bytes)));
  }

  function outputs(signature, good, thumbnails) {
    const of = good.map((answer) => outputsOf(signature, answer.value));
    if (of[0].length === 0) return el("p", { class: "hint" }, "The answer holds no outputs of this signature; see the JSON.");
    return of[0].map((output, i) => {
      const pair = of.length > 1 && of[1][i] ? [output, of[1][i]] : [output];
      return outputView({ outputs: pair, names: good.map((each) => `Version ${each.version}`), labels: labels.of(good[0].version, signature.name, output.name), states, thumbnails });
    });
  }

  /** For the names of classes, where there are classes. */
  function editor(signature, [first]) {
    if (!first || signature.call !== "predict") return null;
    const shown = outputsOf(signature, first.value).find(({ rows, spec }) =>
      rows.length > 0 && viewsFor(rows[0], null, spec?.said).includes("classes"));
    return shown ? labels.editor(first.version, signature.name, shown.name) : null;
  }

  function spoken(signature, answers) {
    return answers.map((answer) => {
      if (answer.error) return `Error: ${answer.error.message}`;
      const [output] = outputsOf(signature, answer.value);
      const names = labels.of(answer.version, signature.name, output?.name);
      const words = output?.rows.length ? `: ${summary(output.rows[0], names, output.spec?.said)}` : "";
      return `Version ${answer.version} answered in ${latencyText(answer.ms)}${words}`;
    }).join(". ");
  }

  empty();
  return {
    element, show, busy, idle, empty,
    /** Shows the same answers again, with labels that have come meanwhile. */
    redraw: () => last && show(last.signature, last.answers, last.thumbnails),
    /** Whether an answer stands there. */
    hasAnswer: () => last?.answers.some(({ error }) => !error) ?? false,
  };
}

/** An error as the server said it, with its hint; the names of the graph's nodes come last. */
export function errorBox({ name, error }, isNamed = false) {
  const status = error.status ? el("span", { class: "status" }, `HTTP ${error.status}`) : null;
  const { words, nodes } = withoutNodes(error.message);
  return el("div", { class: "error", role: "alert" },
    isNamed ? el("p", { class: "label" }, name) : null,
    el("p", { class: "message", dir: "auto" }, words), error.hint ? el("p", { class: "advice" }, error.hint) : null, status,
    nodes ? el("p", { class: "nodes" }, el("code", {}, nodes)) : null);
}

function raw(answer, isNamed) {
  const details = el("details", { class: "raw" }, el("summary", {}, isNamed ? `JSON of ${answer.name.toLowerCase()}` : "JSON"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const text = answer.text.length > MOST_RAW ? `${answer.text.slice(0, MOST_RAW)}\n…` : pretty(answer.value);
    details.append(el("pre", { class: "code scroll", tabindex: 0 }, text));
  });
  return details;
}
