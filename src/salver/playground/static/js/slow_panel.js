// The last slow requests, and what they spent their time on.

import { slowRequests } from "./api.js";
import { el, fill } from "./dom.js";
import { latencyText } from "./units.js";

const EVERY_MS = 5000;
const MOST_ROWS = 20;

/** @returns {{element, poll(takes)}} `takes` says of a model's name whether its requests are shown. */
export function slowPanel() {
  const element = el("div", { class: "card", hidden: true });
  let told = null; // by the server, the last time
  let isKept = true; // as far as is known
  let asked = -Infinity;

  async function poll(takes) {
    if (!isKept) return;
    if (performance.now() - asked >= EVERY_MS) {
      asked = performance.now();
      told = await slowRequests().catch(() => told); // the rest of the page says what is amiss
      if (told === null) isKept = false;
    }
    element.hidden = told === null;
    if (told !== null) fill(element, el("h2", {}, "Slow requests"), table(told, takes));
  }

  return { element, poll };
}

function table(told, takes) {
  const rows = told.requests.filter(({ model }) => takes(model)).slice(0, MOST_ROWS);
  if (!rows.length) return el("p", { class: "hint" }, `None took ${latencyText(told.slow_request_ms)} of late.`);
  const head = ["Time", "Request", "Answer", "Took", "Of which"];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Slow requests" }, el("table", { class: "values figures" },
    el("thead", {}, el("tr", {}, head.map((words) => el("th", { scope: "col" }, words)))), el("tbody", {}, rows.map(row))));
}

function row(request) {
  const time = new Date(request.time);
  const stages = request.stages.map(({ name, seconds }) => `${name} ${latencyText(seconds * 1000)}`).join(" · ");
  const trace = request.trace_id ? `trace ${request.trace_id}` : null;
  const isBad = request.protocol === "GRPC" ? request.status > 0 : request.status >= 400 || request.status === 0;
  return el("tr", {},
    el("td", {}, el("time", { datetime: request.time }, time.toLocaleTimeString())),
    el("th", { scope: "row", title: trace }, `${request.method} ${request.target}`.trim()),
    el("td", { class: isBad ? "digits bad" : "digits" }, String(request.status)),
    el("td", { class: "digits" }, latencyText(request.seconds * 1000)),
    el("td", {}, stages || "–"));
}
