// One output of an answer, or of two: which row, shown how.

import { choice, el, fill, segments } from "../dom.js";
import { paint } from "../inputs/preview.js";
import { withUnit } from "../meaning.js";
import { canvasOf } from "../pixels.js";
import { classesOf, difference, leafOf, numberText } from "../results.js";
import { classBars, classPairs } from "./classes.js";
import { asClasses, viewsFor } from "./sense.js";
import { jsonView, numberView, pictureView, shortText, tableView, textView } from "./plain.js";

const VIEWS = {
  classes: classBars, picture: pictureView, number: numberView, text: textView, table: tableView, json: jsonView,
};
const WORDS = { classes: "Classes", picture: "Picture", number: "Number", text: "Text", table: "Table", json: "JSON" };
const MOST_ROWS = 100;

/**
 * An output.
 * @param ask {outputs, names, labels, states, thumbnails}: one output, or two of the same name with
 *     the words to tell them apart. states: a Map, kept from answer to answer, of how each output is
 *     shown. thumbnails: of the pictures that were sent, one a row, if there are any.
 */
export function outputView({ outputs, names, labels, states, thumbnails = [] }) {
  const { name, spec } = outputs[0];
  const said = spec?.said ?? {};
  if (!states.has(name)) states.set(name, { row: 0 });
  const state = states.get(name);
  const count = Math.min(...outputs.map(({ rows }) => rows.length));
  state.row = Math.min(state.row, Math.max(0, count - 1));
  const element = el("section", { class: "output", "aria-label": `Output ${name}` });

  function draw() {
    const rows = outputs.map((output) => output.rows[state.row]);
    const views = count > 0 ? viewsFor(rows[0], labels, said) : ["json"];
    const view = views.includes(state.view) ? state.view : views[0];
    const table = () => rowsTable({ outputs, count, labels, names, said, thumbnails });
    if (count > 1 && outputs.every((output) => output.rows.every(isSmall))) {
      fill(element, heading(null), table());
      return;
    }
    fill(
      element,
      heading(views.length > 1 ? segments(`How to show ${name}`, views.map((each) => [each, WORDS[each]]), view, (next) => {
        state.view = next;
        draw();
        element.querySelector(`input[value="${next}"]`)?.focus();
      }) : null),
      count > 1 ? rowPicker(count, state.row, (row) => {
        state.row = row;
        draw();
        element.querySelector(".row-picker select")?.focus();
      }) : null,
      count === 0 ? el("p", { class: "hint" }, "No rows.") : shown(view, rows),
      count > 1 ? el("details", { open: thumbnails.length === count }, el("summary", {}, `All ${count} rows`), table()) : null,
    );
  }

  function heading(switcher) {
    const type = spec ? el("code", { class: "type" }, said.title ? `${name}: ${spec.dtype}` : spec.dtype) : null;
    return [el("header", {}, el("div", { class: "input-title" }, el("strong", { dir: "auto" }, said.title || name), type), switcher),
      said.description ? el("p", { class: "hint", dir: "auto" }, said.description) : null];
  }

  function shown(view, rows) {
    if (rows.length === 1) return VIEWS[view]({ row: rows[0], labels, said, state });
    const pair = view === "classes"
      ? classPairs({ rows, labels, said, names, state })
      : el("div", { class: "side-by-side" }, rows.map((row, i) =>
        el("div", {}, el("p", { class: "label" }, names[i]), VIEWS[view]({ row, labels, said, state }))));
    return [el("p", { class: "verdict" }, verdict(rows, labels, said)), pair];
  }

  draw();
  return element;
}

function rowPicker(count, chosen, onchange) {
  const rows = Array.from({ length: count }, (_, i) => [String(i), `Row ${i + 1} of ${count}`]);
  return el("div", { class: "row-picker" }, choice(rows, String(chosen), (value) => onchange(Number(value)), { "aria-label": "Row" }));
}

/** Whether a row is a single value, so that all rows fit one table. */
function isSmall(row) {
  const leaf = leafOf(row);
  return [row].flat(Infinity).length === 1 && (leaf === null || typeof leaf !== "object");
}

function rowsTable({ outputs, count, labels, names, said, thumbnails }) {
  const head = outputs.length > 1 ? names : ["Answer"];
  const hasPictures = thumbnails.length === count;
  const rows = Array.from({ length: Math.min(count, MOST_ROWS) }, (_, i) => el(
    "tr", {}, el("th", { scope: "row" }, i + 1), hasPictures ? el("td", {}, thumbnail(thumbnails[i], i)) : null,
    outputs.map((output) => el("td", { dir: "auto" }, summary(output.rows[i], labels, said))),
    outputs.length > 1 ? el("td", { class: "delta" }, gapText(difference(outputs[0].rows[i], outputs[1].rows[i]))) : null,
  ));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "All rows" }, el("table", { class: "values" },
    el("thead", {}, el("tr", {}, el("th", {}, "Row"), hasPictures ? el("th", {}, "Picture") : null, head.map((words) => el("th", { scope: "col" }, words)),
      outputs.length > 1 ? el("th", { scope: "col" }, "Difference") : null)),
    el("tbody", {}, rows)), count > MOST_ROWS ? el("p", { class: "hint" }, `… and ${count - MOST_ROWS} more`) : null);
}

function thumbnail({ pixels, size: [width, height] }, at) {
  if (!pixels) return "";
  const canvas = paint(canvasOf(width, height), pixels, width, height);
  canvas.className = "pixels thumbnail";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Picture ${at + 1}`);
  return canvas;
}

/** A row in a few words: the best class, or the value. */
export function summary(row, labels, said = {}) {
  if (viewsFor(row, labels, said)[0] !== "classes") {
    return Array.isArray(row) && isSmall(row) ? withUnit(shortText(leafOf(row)), said.unit) : withUnit(shortText(row), said.unit);
  }
  const scored = asClasses(row, labels, said);
  if (scored.chosen !== undefined) return labels?.[scored.chosen] ?? `class ${scored.chosen}`;
  const [best] = classesOf(scored.row, scored.labels);
  const isShare = best.score >= 0 && best.score <= 1;
  return `${best.label} (${isShare ? `${(best.score * 100).toFixed(1)} %` : numberText(best.score, 4)})`;
}

function verdict(rows, labels, said) {
  const gap = difference(...rows);
  if (gap.same) return "Both answers are the same.";
  if (viewsFor(rows[0], labels, said)[0] === "classes") {
    const scored = rows.map((row) => asClasses(row, labels, said));
    if (scored[0].chosen !== undefined) return `They disagree: ${rows.map((row) => summary(row, labels, said)).join(" and ")}.`;
    const [a, b] = scored.map((each) => classesOf(each.row, each.labels)[0].label);
    const words = a === b ? `Both say ${a}.` : `They disagree: ${a} and ${b}.`;
    const areShares = rows.every((row) => classesOf(row, labels).every(({ score }) => score >= 0 && score <= 1));
    return `${words} ${areShares ? `Largest difference ${(gap.most * 100).toFixed(1)} points` : gapText(gap)}.`;
  }
  return `${gapText(gap)}.`;
}

function gapText(gap) {
  if (gap.same) return "none";
  if (!gap.numeric) return gap.count === 1 ? "They differ" : `${gap.differing} of ${gap.count} values differ`;
  if (gap.count === 1) return `Difference ${numberText(gap.most, 4)}`;
  return `Largest difference ${numberText(gap.most, 3)}, mean ${numberText(gap.mean, 3)}`;
}
