// What the server does and did, per model and version: from its Prometheus page, and, of the time
// when nobody looked, from what it remembers.

import { history, metricsText } from "./api.js";
import { barChart, lineChart } from "./charts.js";
import { choice, el, field, fill, jointed } from "./dom.js";
import { modelAddress } from "./link.js";
import { percentile, snapshot } from "./metrics.js";
import { latencyText, sizeText } from "./units.js";
import { versionState } from "./states.js";
import { recall, remember } from "./store.js";
import { addTotals, keyOf, stepBetween, stepsOfHistory, thinned, windowOf } from "./timeline.js";

const SPANS = [[300, "5 minutes"], [900, "15 minutes"], [3600, "hour"], [21600, "6 hours"], [86400, "day"]];
const RATE_S = 10; // over which a rate is taken
const WINDOW_S = 60; // over which percentiles are taken
const RECENT_S = 300; // for which steps are kept as short as they were seen
const STEP_S = 10; // the shortest that older steps are joined to
const GAP_S = 15; // after a longer pause the server is asked what happened meanwhile
const POINTS = 120; // of a line
const MOST_LINES = 5;

/** @param ask {metricsPath} @returns {{element, poll(models)}} `poll` is called every two seconds. */
export function dashboard({ metricsPath }) {
  const place = el("div");
  const element = el("article", { class: "dashboard" }, el("header", { class: "title" }, el("h1", { tabindex: -1 }, "Dashboard")), place);
  const tiles = el("div", { class: "tiles" });
  const charts = el("div", { class: "charts" });
  const table = el("div", { class: "card" });
  let slow = null; // comes later, as few servers keep any
  const filter = el("div", { class: "controls" });
  let steps = [];
  let totals = new Map(); // model → [requests, errors], since the server began
  let began = null; // of the server, by this page's clock
  let last = null; // the last look
  let kept = 0; // seconds that the server remembers; 0 for nothing
  let wanted = "";
  let span = recall("span", 900);
  let filterNames = null;
  let models = [];

  async function poll(next) {
    models = next;
    if (!metricsPath) return missing("This server shows no metrics: they are turned off in its monitoring configuration.");
    try {
      await look();
    } catch (error) {
      return missing(error.status === 404 ? "This server shows no metrics." : error.message);
    }
    slow ??= (await import("./slow_panel.js")).slowPanel();
    if (!tiles.isConnected) fill(place, filter, tiles, charts, table, slow.element);
    draw();
    await slow.poll((model) => takes({ model }));
    return undefined;
  }

  async function look() {
    const clock = () => performance.now() / 1000;
    if (last === null || clock() - last.time > GAP_S) await remind(clock);
    const now = snapshot(await metricsText(metricsPath), clock());
    if (last !== null) {
      const step = stepBetween(last, now);
      steps.push(step);
      addTotals(totals, step);
    }
    last = now;
    const longest = Math.max(kept, SPANS[0][0], span);
    steps = thinned(steps, now.time - longest - WINDOW_S, now.time - RECENT_S, Math.max(STEP_S, kept / 360));
  }

  /** Asks the server for what this page has not seen. */
  async function remind(clock) {
    const past = await history();
    const now = clock();
    if (past === null) return; // remembers nothing
    steps = stepsOfHistory(past, now);
    totals = new Map(past.totals.map(([model, ...counts]) => [model, counts]));
    began = past.began + now - past.now;
    kept = past.step_seconds * 360;
    last = snapshot(await metricsText(metricsPath), clock());
    last.time = now; // what came in between is of the step that follows
    filterNames = null;
  }

  function missing(words) {
    last = null;
    fill(place, el("p", { class: "placeholder card" }, words));
  }

  const takes = (each) => !wanted || each.model === wanted;

  function draw() {
    drawFilter(models.map(({ name }) => name));
    const now = last.time;
    const recent = windowOf(steps, now - RATE_S, now, takes);
    const minute = windowOf(steps, now - WINDOW_S, now, takes);
    const inFlight = [...last.versions.values()].filter(takes).reduce((sum, each) => sum + each.inFlight, 0);
    const all = [...totals].filter(([model]) => takes({ model })).reduce(([a, b], [, [n, bad]]) => [a + n, b + bad], [0, 0]);
    fill(tiles,
      tile("Requests", rateText(recent.rate), "per second"),
      tile("Median", latency(minute.latency, 0.5), "last minute"),
      tile("99 % under", latency(minute.latency, 0.99), "last minute"),
      tile("Errors", rateText(recent.errors), "per second", recent.errors > 0),
      tile("All requests", countText(all[0]), sinceText()),
      tile("All errors", countText(all[1]), sinceText(), all[1] > 0),
      tile("In flight", String(inFlight), "now"),
      tile("Memory", last.memory === null ? "–" : sizeText(last.memory), "of the process"));
    fill(charts, chartsOf(now, minute));
    fill(table, el("h2", {}, "Models and versions"), versionsTable(now));
  }

  function sinceText() {
    if (began === null) return "since this page was opened";
    const seconds = performance.now() / 1000 - began;
    const start = new Date(Date.now() - seconds * 1000);
    const time = start.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return seconds < 86400 ? `since ${time}` : `since ${start.toLocaleDateString([], { month: "short", day: "numeric" })}`;
  }

  function drawFilter(names) {
    const key = JSON.stringify(names);
    if (key === filterNames) return;
    filterNames = key;
    if (wanted && !names.includes(wanted)) wanted = "";
    const spans = SPANS.filter(([seconds], i) => i === 0 || seconds <= kept * 1.001);
    if (!spans.some(([seconds]) => seconds === span)) span = spans.at(-1)[0];
    fill(filter,
      field("Show", choice([["", "All models"], ...names.map((name) => [name, name])], wanted, (value) => {
        wanted = value;
        draw();
      })),
      field("Of the last", choice(spans.map(([seconds, words]) => [String(seconds), words]), String(span), (value) => {
        span = Number(value);
        remember("span", span);
        draw();
      }, { "data-control": "span" })));
  }

  function chartsOf(now, minute) {
    const shown = spanOf(now);
    const width = Math.max(RATE_S, shown / POINTS);
    const times = Array.from({ length: POINTS + 1 }, (_, i) => now - shown + (i * shown) / POINTS);
    const points = times.map((time) => {
      const found = windowOf(steps, time - width, time, takes);
      return { time, ...found, isKnown: found.seconds > Math.min(2, width / 4) };
    });
    const line = (title, names, of, format, tones) => lineChart({
      title, span: shown, now, format, tones,
      series: names.map((name, i) => ({ name, points: points.map((point) => [point.time, point.isKnown ? of(point, i) : null]) })),
    });
    const ms = (value) => (value === null ? null : value * 1000);
    const batches = barsOf(minute.batches);
    const busiest = busiestVersions(now - shown, now);
    const rates = busiest.map((mine) => points.map(({ time }) => windowOf(steps, time - width, time, (each) => keyOf(each) === mine).rate));
    const inSpan = windowOf(steps, now - shown, now, takes);
    const codes = [...inSpan.codes].filter(([, n]) => n >= 0.5).sort(([, a], [, b]) => b - a);
    return [
      line("Requests per second", ["answered", "failed"], (p, i) => (i ? p.errors : p.rate - p.errors), rateText, ["s0", "bad"]),
      line("Latency", ["median", "95 %", "99 %"], (p, i) => ms(percentile(p.latency, [0.5, 0.95, 0.99][i])), latencyText),
      busiest.length ? line("Requests per second by version", busiest.map((key) => JSON.parse(key).filter(Boolean).join(" ") || "others"),
        (p, i) => rates[i][points.indexOf(p)], rateText) : null,
      memoryChart(now, shown),
      batches.length ? barChart({ title: "Rows per batch, last minute", bars: batches, format: countText }) : null,
      codes.length ? barChart({ title: "Errors by code", bars: codes, format: countText, tone: "bad" }) : null,
    ].filter(Boolean).map((chart) => el("div", { class: "card" }, chart));
  }

  function memoryChart(now, shown) {
    const points = steps.filter(({ to, memory }) => memory !== null && to > now - shown).map(({ to, memory }) => [to, memory]);
    return lineChart({ title: "Memory of the process", span: shown, now, format: sizeText, series: [{ name: "", points: points.length ? points : [[now, last.memory]] }] });
  }

  /** The keys of those that were asked most, by name. */
  function busiestVersions(from, to) {
    const counts = new Map();
    for (const step of steps) {
      if (step.to <= from || step.from >= to) continue;
      for (const [key, version] of step.versions) {
        if (takes(version) && version.version) counts.set(key, (counts.get(key) ?? 0) + [...version.latency.values()].reduce((a, b) => a + b, 0));
      }
    }
    return [...counts].filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a).slice(0, MOST_LINES)
      .map(([key]) => key).sort(); // a line keeps its colour
  }

  /** Whole minutes since the first step, so that a server just started is not all blank. */
  function spanOf(now) {
    const first = steps[0]?.from ?? now;
    return Math.min(span, Math.max(60, Math.ceil((now - first) / 60) * 60));
  }

  function versionsTable(now) {
    const tellsMemory = [...last.versions.values()].some(({ memory }) => memory !== null);
    const shown = spanOf(now);
    const head = ["Model", "Version", "State", "Requests/s", "Median", "95 %", "99 %", "Errors/s", "Errors", "Mean batch",
      ...(tellsMemory ? ["Memory"] : [])];
    const rows = models.filter(({ name }) => !wanted || name === wanted).flatMap((model) =>
      model.model_version_status.map((version) => versionRow(model, version, now, shown, tellsMemory)));
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models and versions" }, el("table", { class: "values figures" },
      el("thead", {}, el("tr", {}, head.map((words) => el("th", { scope: "col" }, words)))), el("tbody", {}, rows)));
  }

  function versionRow({ name }, version, now, shown, tellsMemory) {
    const mine = (each) => each.model === name && each.version === version.version;
    const recent = windowOf(steps, now - RATE_S, now, mine);
    const minute = windowOf(steps, now - WINDOW_S, now, mine);
    const { failed } = windowOf(steps, now - shown, now, mine);
    const { word, tone } = versionState(version);
    const memory = [...last.versions.values()].find(mine)?.memory ?? null;
    const digits = (text, isBad = false) => el("td", { class: isBad ? "digits bad" : "digits" }, text);
    return el("tr", {},
      el("th", { scope: "row" }, el("a", { href: modelAddress(name), dir: "auto" }, jointed(name))), el("td", {}, version.version),
      el("td", {}, el("span", { class: "state" }, el("i", { class: `dot ${tone}`, "aria-hidden": "true" }), word)),
      digits(rateText(recent.rate)), [0.5, 0.95, 0.99].map((share) => digits(latency(minute.latency, share))),
      digits(rateText(recent.errors), recent.errors > 0), digits(countText(failed), failed >= 0.5),
      digits(minute.batchMean === null ? "–" : minute.batchMean.toFixed(1)),
      tellsMemory ? digits(memory === null ? "–" : sizeText(memory)) : null);
  }

  fill(place, el("p", { class: "placeholder card" }, "Looking at the metrics …"));
  return { element, poll };
}

const latency = (buckets, share) => {
  const value = percentile(buckets, share);
  return value === null ? "–" : latencyText(value * 1000);
};

const countText = (value) => Math.round(value).toLocaleString("en");

function rateText(value) {
  if (value === 0) return "0";
  return String(value >= 100 ? Math.round(value) : Number(value.toFixed(value >= 10 ? 1 : 2)));
}

function barsOf(buckets) {
  const used = [...buckets].sort(([a], [b]) => a - b);
  const most = used.findLastIndex(([, count]) => count > 0);
  return used.slice(0, most + 1).map(([bound, count]) => [bound === Infinity ? "more" : `≤ ${bound}`, count]);
}

function tile(title, value, more, isBad = false) {
  return el("div", { class: `tile${isBad ? " bad" : ""}` }, el("span", { class: "label" }, title), el("b", {}, value), el("span", { class: "hint" }, more));
}
