// Text for string tensors, and JSON for whatever has no form of its own.

import { el, fill, tick } from "../dom.js";
import { pretty, parse } from "../json.js";
import { count, isBatched, rowDims } from "../shapes.js";
import { InputError } from "../request.js";

/** @param ask {spec, changed} @returns an editor; see form.js. */
export function textEditor({ spec, changed }) {
  let isByLine = isBatched(spec);
  const area = el("textarea", {
    rows: 4, "aria-label": spec.name, placeholder: "Some text", oninput: changed,
  });
  const wrap = (text) => rowDims(spec).reduceRight((inner) => [inner], text);
  const lines = el("div");
  const drawLines = () => fill(lines, isBatched(spec) ? tick("Each line is a row of its own", isByLine, (value) => {
    isByLine = value;
    changed();
  }) : null);
  drawLines();
  return {
    element: el("div", {}, area, lines),
    rows() {
      if (!isByLine) return [wrap(area.value)];
      return area.value.replace(/\n$/, "").split("\n").map(wrap);
    },
    accept(rows) {
      const texts = rows.flat(Infinity);
      const fits = texts.length === rows.length && texts.every((text) => typeof text === "string");
      const isLong = texts.some((text) => text?.includes?.("\n"));
      if (!fits || (isLong && texts.length > 1)) return false;
      if (texts.length > 1) isByLine = true;
      if (isLong) isByLine = false;
      drawLines();
      area.value = texts.join("\n");
      return true;
    },
  };
}

/** One row of an input as JSON. @returns an editor; see form.js. */
export function jsonEditor({ spec, changed }) {
  const area = el("textarea", {
    rows: 6, class: "code", spellcheck: "false", "aria-label": `${spec.name} as JSON, one row`,
    oninput: changed, value: pretty(zeros(rowDims(spec), spec.dtype)),
  });
  return {
    element: el("div", {}, area, el("p", { class: "hint" }, "One row, as JSON.")),
    rows() {
      try {
        return [parse(area.value)];
      } catch (error) {
        throw new InputError(`${spec.name}: ${error.message}`);
      }
    },
    accept(rows) {
      if (rows.length !== 1) return false;
      area.value = pretty(rows[0]);
      return true;
    },
  };
}

const MOST_ZEROS = 2000;

/** A value of a shape to begin with; open sizes are 1. */
function zeros(dims, dtype) {
  const closed = dims.map((size) => (size < 0 ? 1 : size));
  const leaf = dtype === "string" ? "" : dtype === "bool" ? false : 0;
  if (count(closed) > MOST_ZEROS) return [];
  const make = (at) => (at === closed.length ? leaf : Array.from({ length: closed[at] }, () => make(at + 1)));
  return make(0);
}
