// What the server does just now, per model and version, from its Prometheus page.

import { metricsText } from "./api.js";
import { barChart, lineChart } from "./charts.js";
import { choice, el, field, fill } from "./dom.js";
import { between, percentile, snapshot } from "./metrics.js";
import { latencyText, sizeText } from "./result_panel.js";
import { modelAddress } from "./sidebar.js";
import { versionState } from "./states.js";

const SPAN_S = 300; // what the charts show
const RATE_S = 10; // over which a rate is taken
const WINDOW_S = 60; // over which percentiles are taken
const MOST_LINES = 5;
const NOTHING = { time: 0, versions: new Map() };

/** @param ask {metricsPath} @returns {{element, poll(models)}} `poll` is called every two seconds. */
export function dashboard({ metricsPath }) {
  const place = el("div");
  const element = el("article", { class: "dashboard" }, el("header", { class: "title" }, el("h1", { tabindex: -1 }, "Dashboard")), place);
  const tiles = el("div", { class: "tiles" });
  const charts = el("div", { class: "charts" });
  const table = el("div", { class: "card" });
  const filter = el("div", { class: "controls" });
  let looks = [];
  let wanted = "";
  let filterNames = null;

  async function poll(models) {
    if (!metricsPath) return missing("This server shows no metrics: they are turned off in its monitoring configuration.");
    try {
      looks.push(snapshot(await metricsText(metricsPath), performance.now() / 1000));
    } catch (error) {
      return missing(error.status === 404 ? "This server shows no metrics." : error.message);
    }
    looks = looks.filter(({ time }) => time > looks.at(-1).time - SPAN_S - RATE_S - 5);
    if (!tiles.isConnected) fill(place, filter, tiles, charts, table);
    draw(models);
    return undefined;
  }

  function missing(words) {
    fill(place, el("p", { class: "placeholder card" }, words));
  }

  function draw(models) {
    drawFilter(models.map(({ name }) => name));
    const takes = wanted ? ({ model }) => model === wanted : () => true;
    const now = looks.at(-1);
    const recent = between(earlier(now.time - RATE_S), now, takes);
    const minute = between(earlier(now.time - WINDOW_S), now, takes);
    fill(tiles,
      tile("Requests", `${rateText(recent.rate)}`, "per second"),
      tile("Median", latency(minute.latency, 0.5), "last minute"),
      tile("99 % under", latency(minute.latency, 0.99), "last minute"),
      tile("Errors", rateText(recent.errors), "per second", recent.errors > 0),
      tile("In flight", String(recent.inFlight), "now"),
      tile("Memory", now.memory === null ? "–" : sizeText(now.memory), "of the process"));
    fill(charts, chartsOf(now, takes, minute));
    fill(table, el("h2", {}, "Models and versions"), versionsTable(models, now));
  }

  function drawFilter(names) {
    const key = JSON.stringify(names);
    if (key === filterNames) return;
    filterNames = key;
    if (wanted && !names.includes(wanted)) wanted = "";
    fill(filter, field("Show", choice([["", "All models"], ...names.map((name) => [name, name])], wanted, (value) => {
      wanted = value;
      draw(lastModels);
    })));
  }

  /** The last look that is not younger than a time; the first where all are. */
  function earlier(time) {
    return looks.findLast((look) => look.time <= time) ?? looks[0] ?? NOTHING;
  }

  function chartsOf(now, takes, minute) {
    const points = looks.slice(1).map((look) => {
      const step = between(earlier(look.time - RATE_S), look, takes);
      const before = earlier(look.time - RATE_S);
      const rates = new Map([...look.versions.values()].map((mine) =>
        [keyOf(mine), between(before, look, (each) => each === mine).rate]));
      return { time: look.time, rates, ...step };
    });
    const line = (title, names, of, format) => lineChart({
      title, span: spanOf(now.time), now: now.time, format,
      series: names.map((name, i) => ({ name, points: points.map((point) => [point.time, of(point)[i]]) })),
    });
    const ms = (value) => (value === null ? null : value * 1000);
    const batches = barsOf(minute.batches);
    const busiest = busiestVersions(now, takes);
    const all = [
      line("Requests per second", ["answered", "failed"], (p) => [p.rate - p.errors, p.errors], rateText),
      line("Latency", ["median", "95 %", "99 %"], (p) => [0.5, 0.95, 0.99].map((share) => ms(percentile(p.latency, share))), latencyText),
      line("Requests per second by version", busiest.map(({ model, version }) => `${model} ${version}`),
        (p) => busiest.map((mine) => p.rates.get(keyOf(mine)) ?? 0), rateText),
      line("Memory of the process", [""], (p) => [looks.find(({ time }) => time === p.time).memory], sizeText),
      batches.length ? barChart({ title: "Rows per batch, last minute", bars: batches, format: (n) => String(Math.round(n)) }) : null,
      minute.codes.size ? barChart({ title: "Errors by code, last minute", bars: [...minute.codes], format: (n) => String(Math.round(n)) }) : null,
    ];
    return all.filter(Boolean).map((chart) => el("div", { class: "card" }, chart));
  }

  /** Those that were asked most lately, by name. */
  function busiestVersions(now, takes) {
    const before = earlier(now.time - SPAN_S);
    const asked = [...now.versions.values()].filter((mine) => takes(mine) && mine.version)
      .map((mine) => ({ mine, rate: between(before, now, (each) => each === mine).rate }))
      .filter(({ rate }) => rate > 0).sort((a, b) => b.rate - a.rate);
    return asked.slice(0, MOST_LINES).map(({ mine }) => mine)
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)); // a line keeps its colour
  }

  /** Whole minutes since the first look, so that a page just opened is not all blank. */
  function spanOf(time) {
    return Math.min(SPAN_S, Math.max(60, Math.ceil((time - looks[0].time) / 60) * 60));
  }

  function versionsTable(models, now) {
    const before = earlier(now.time - WINDOW_S);
    const tellsMemory = [...now.versions.values()].some(({ memory }) => memory !== null);
    const head = ["Model", "Version", "State", "Requests/s", "Median", "95 %", "99 %", "Errors/s", "Mean batch",
      ...(tellsMemory ? ["Memory"] : [])];
    const rows = models.filter(({ name }) => !wanted || name === wanted).flatMap((model) =>
      model.model_version_status.map((version) => versionRow(model, version, before, now, tellsMemory)));
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models and versions" }, el("table", { class: "values" },
      el("thead", {}, el("tr", {}, head.map((words) => el("th", { scope: "col" }, words)))), el("tbody", {}, rows)));
  }

  function versionRow({ name }, version, before, now, tellsMemory) {
    const mine = (each) => each.model === name && each.version === version.version;
    const recent = between(earlier(now.time - RATE_S), now, mine);
    const minute = between(before, now, mine);
    const { word, tone } = versionState(version);
    const memory = [...now.versions.values()].find(mine)?.memory ?? null;
    return el("tr", {},
      el("th", { scope: "row" }, el("a", { href: modelAddress(name), dir: "auto" }, name)), el("td", {}, version.version),
      el("td", {}, el("span", { class: "state" }, el("i", { class: `dot ${tone}`, "aria-hidden": "true" }), word)),
      [rateText(recent.rate), latency(minute.latency, 0.5), latency(minute.latency, 0.95), latency(minute.latency, 0.99),
        rateText(recent.errors), minute.batchMean === null ? "–" : minute.batchMean.toFixed(1),
        ...(tellsMemory ? [memory === null ? "–" : sizeText(memory)] : [])]
        .map((text) => el("td", { class: "digits" }, text)));
  }

  let lastModels = [];
  fill(place, el("p", { class: "placeholder card" }, "Looking at the metrics …"));
  return {
    element,
    poll(models) {
      lastModels = models;
      return poll(models);
    },
  };
}

const keyOf = ({ model, version }) => JSON.stringify([model, version]);

const latency = (buckets, share) => {
  const value = percentile(buckets, share);
  return value === null ? "–" : latencyText(value * 1000);
};

function rateText(value) {
  if (value === 0) return "0";
  return String(value >= 100 ? Math.round(value) : Number(value.toFixed(value >= 10 ? 1 : 2)));
}

function barsOf(buckets) {
  const used = [...buckets].sort(([a], [b]) => a - b);
  const last = used.findLastIndex(([, count]) => count > 0);
  return used.slice(0, last + 1).map(([bound, count]) => [bound === Infinity ? "more" : `≤ ${bound}`, count]);
}

function tile(title, value, more, isBad = false) {
  return el("div", { class: `tile${isBad ? " bad" : ""}` }, el("span", { class: "label" }, title), el("b", {}, value), el("span", { class: "hint" }, more));
}
