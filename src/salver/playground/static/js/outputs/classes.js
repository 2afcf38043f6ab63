// Classes as bars, best first: of one answer, or of two with the difference.

import { button, el, fill, tick } from "../dom.js";
import { areProbabilities, classesOf, isClassification, numberText, softmax } from "../results.js";
import { asClasses, guessText, verdictOf } from "./sense.js";

const FEW = 5;

/** The classes of one row. @param ask {row, labels, said, state}; state lives as long as the page. */
export function classBars({ row, labels, said = {}, state }) {
  const scored = asClasses(row, labels, said);
  if (scored.chosen !== undefined) return chosenClass(scored);
  const isPair = scored.row !== row;
  return adjustable([scored.row], said, state, (rows, shown) => {
    const classes = classesOf(rows[0], scored.labels);
    const scale = scaleOf(classes.map(({ score }) => score));
    const verdict = verdictOf(classes, said, isPair);
    const isBest = ({ index }, at) => (verdict ? verdict.found.has(index) : at === 0);
    const bars = classes.slice(0, shown).map((each, at) =>
      el("li", { class: isBest(each, at) ? "best" : "" }, el("span", { class: "name", dir: "auto" }, each.label),
        bar(each.score, scale, "", isPair ? undefined : said.threshold), el("span", { class: "score" }, scoreText(each.score, scale))));
    const guess = guessText(row, labels, said, "classes");
    return [[verdict ? el("p", { class: "verdict", dir: "auto" }, verdict.words) : null,
      el("ol", { class: "bars" }, bars), guess ? el("p", { class: "hint guess" }, guess) : null], classes.length];
  });
}

function chosenClass({ chosen, labels }) {
  return el("div", {}, el("p", { class: "big-number", dir: "auto" }, labels?.[chosen] ?? `class ${chosen}`),
    el("p", { class: "hint" }, `class ${chosen}`));
}

/** The classes of two rows, those first that either finds likely. */
export function classPairs({ rows, labels, said = {}, names, state }) {
  const both = rows.map((row) => asClasses(row, labels, said));
  if (both.some(({ chosen }) => chosen !== undefined)) {
    return el("div", { class: "side-by-side" }, both.map((each, i) => el("div", {}, el("p", { class: "label" }, names[i]), chosenClass(each))));
  }
  return adjustable(both.map(({ row }) => row), said, state, (soft, shown) => {
    const [first, second] = soft.map((row) => new Map(classesOf(row, both[0].labels).map((each) => [each.label, each.score])));
    const all = [...new Set([...first.keys(), ...second.keys()])]
      .map((label) => ({ label, a: first.get(label) ?? 0, b: second.get(label) ?? 0 }))
      .sort((x, y) => Math.max(y.a, y.b) - Math.max(x.a, x.b));
    const scale = scaleOf(all.flatMap(({ a, b }) => [a, b]));
    const rowsShown = all.slice(0, shown).map(({ label, a, b }) => el(
      "tr", {}, el("th", { scope: "row", dir: "auto" }, label),
      el("td", {}, bar(a, scale), scoreText(a, scale)),
      el("td", {}, bar(b, scale, "second"), scoreText(b, scale)),
      el("td", { class: "delta" }, deltaText(b - a, scale)),
    ));
    const table = el("table", { class: "pairs" }, el("thead", {}, el("tr", {}, el("th", {}, "Class"),
      names.map((name) => el("th", { scope: "col" }, name)), el("th", { scope: "col" }, "Difference"))),
    el("tbody", {}, rowsShown));
    return [el("div", { class: "scroll" }, table), all.length];
  });
}

/** What both have: how many are shown, and softmax for scores that are no shares. */
function adjustable(rows, said, state, draw) {
  const element = el("div", { class: "classes" });
  const canSoften = said.threshold === undefined && rows.every((row) => !isClassification(row) && !areProbabilities(row));
  state.shown ??= FEW;

  function redraw() {
    const soft = canSoften && state.softmax;
    const [bars, count] = draw(soft ? rows.map((row) => softmax(row.map(Number))) : rows, state.shown);
    fill(
      element, bars,
      el("div", { class: "row small" },
        count > FEW ? button(state.shown === FEW ? `Show all ${count}` : `Show the best ${FEW}`, () => {
          state.shown = state.shown === FEW ? count : FEW;
          redraw();
        }, { class: "quiet" }) : null,
        canSoften ? tick("Softmax", Boolean(state.softmax), (value) => {
          state.softmax = value;
          redraw();
        }) : null),
    );
  }

  redraw();
  return element;
}

function scaleOf(scores) {
  const finite = scores.filter(Number.isFinite);
  const least = finite.reduce((a, b) => Math.min(a, b), 0);
  const most = finite.reduce((a, b) => Math.max(a, b), 0);
  const areShares = least >= -1e-6 && most <= 1 + 1e-6;
  return { least: areShares ? 0 : least, span: areShares ? 1 : Math.max(1e-12, most - least), areShares };
}

function bar(score, scale, more = "", threshold = undefined) {
  const share = (value) => Math.max(0, Math.min(1, (value - scale.least) / scale.span));
  const inner = el("i");
  inner.style.setProperty("--part", `${(share(score) * 100).toFixed(2)}%`);
  const mark = threshold === undefined ? null : el("b");
  mark?.style.setProperty("--part", `${(share(threshold) * 100).toFixed(2)}%`);
  return el("span", { class: `bar ${more}`, "aria-hidden": "true" }, inner, mark);
}

const scoreText = (score, { areShares }) =>
  areShares ? `${(score * 100).toFixed(1)} %` : numberText(score, 4);

function deltaText(delta, { areShares }) {
  const sign = delta > 0 ? "+" : delta < 0 ? "−" : "±";
  const size = Math.abs(delta);
  return areShares ? `${sign}${(size * 100).toFixed(1)}` : `${sign}${numberText(size, 3)}`;
}
