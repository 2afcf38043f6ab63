// Small charts as SVG. Colours are classes (s0, s1, …), because the page allows no inline style.

import { el, fill } from "./dom.js";

const WIDTH = 480;
const HEIGHT = 150;
const LEFT = 52;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 20;
const TONES = ["s0", "s1", "s2", "s3", "s4"];

/**
 * Lines over time.
 * @param chart {title, span, now, series: [{name, points: [[time, value|null]]}], format, tones}
 *     tones: classes of the lines; by default s0, s1, …
 */
export function lineChart({ title, span, now, series, format, tones = TONES }) {
  const values = series.flatMap(({ points }) => points.map(([, v]) => v)).filter((v) => v !== null);
  const top = niceTop(Math.max(...values, 0));
  const x = (time) => LEFT + (1 - (now - time) / span) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const marks = [0, top / 2, top].map((value) => gridLine(y(value), format(value)));
  const lines = series.map(({ points }, i) =>
    el("svg:path", { class: `line ${tones[i]}`, d: pathOf(points, x, y, now - span) }),
  );
  const times = [
    axisText(LEFT, HEIGHT - 4, span < 7200 ? `${Math.round(span / 60)} min ago` : `${Math.round(span / 3600)} h ago`, "start"),
    axisText(WIDTH - RIGHT, HEIGHT - 4, "now", "end"),
  ];
  const last = series.map(({ points }) => points.at(-1)?.[1] ?? null);
  return figure(title, series.map(({ name }, i) => [name, last[i] === null ? "–" : format(last[i])]), [
    ...marks, ...lines, ...times,
  ], tones);
}

function pathOf(points, x, y, since) {
  let path = "";
  let isDown = false;
  for (const [time, value] of points) {
    if (value === null || time < since) {
      isDown = false;
      continue;
    }
    path += `${isDown ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    isDown = true;
  }
  return path || "M0 0";
}

/**
 * Bars side by side.
 * @param chart {title, bars: [[words, value]], format, tone}
 */
export function barChart({ title, bars, format, tone = "" }) {
  const top = niceTop(Math.max(...bars.map(([, value]) => value), 0));
  const room = (WIDTH - LEFT - RIGHT) / Math.max(4, bars.length); // a single bar is no wall
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const shapes = bars.flatMap(([words, value], i) => [
    el("svg:rect", {
      class: `column ${tone}`, x: LEFT + i * room + room * 0.15, width: room * 0.7, rx: 2,
      y: y(value), height: Math.max(0, HEIGHT - BOTTOM - y(value)),
    }, el("svg:title", {}, `${words}: ${format(value)}`)),
    axisText(LEFT + (i + 0.5) * room, HEIGHT - 4, words, "middle"),
  ]);
  return figure(title, [], [0, top].map((value) => gridLine(y(value), format(value))).concat(shapes));
}

function figure(title, legend, content, tones = TONES) {
  const words = legend.map(([name, value]) => `${name} ${value}`).join(", ");
  const svg = el(
    "svg:svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words ? `${title}: ${words}` : title },
    content,
  );
  const keys = legend.map(([name, value], i) =>
    el("span", { class: "key" }, el("i", { class: `swatch ${tones[i]}` }), `${name} `, el("b", {}, value)),
  );
  return el("figure", { class: "chart" }, el("figcaption", {}, el("span", { class: "chart-title" }, title), el("span", { class: "keys" }, keys)), svg);
}

function gridLine(y, words) {
  return [
    el("svg:line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    axisText(LEFT - 6, y + 4, words, "end"),
  ];
}

const axisText = (x, y, words, anchor) => el("svg:text", { class: "axis", x, y, "text-anchor": anchor }, words);

/** A round number that is not below the value. */
export function niceTop(value) {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.999);
}

/** Shows a chart in a place, in the stead of what was there. */
export const place = (node, chart) => fill(node, chart);
