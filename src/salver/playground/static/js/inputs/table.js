// A table: a row per instance, a column per number; of a single row whose columns the model
// describes, a form. Cells pasted from a spreadsheet spread out.

import { button, choice, el, field, fill } from "../dom.js";
import { columnsOf, withUnit } from "../meaning.js";
import { isFloat, isNumeric, rowDims } from "../shapes.js";
import { InputError, scalarOf } from "../request.js";
import { rangeText } from "./settings.js";

const STEPS = 200; // of a slider

/**
 * @param ask {specs, isSingleRow, changed}: the inputs that share the table.
 * @returns an editor of several inputs: values() is a Map of input → rows.
 */
export function tableEditor({ specs, isSingleRow, changed }) {
  const columns = specs.flatMap(columnsOf);
  const isDescribed = columns.some((column) => column.isDescribed);
  let cells = [columns.map(blank)];
  const given = new Set(specs.filter((spec) => !spec.isOptional)); // others once they are touched
  const place = el("div", { class: "table-place" });
  const body = el("tbody");
  const table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, el("table", { class: "cells" }, el(
    "thead", {}, el("tr", {}, el("th", { class: "number" }, "Row"),
      columns.map(({ title, unit }) => el("th", { scope: "col", dir: "auto" }, withUnit(title, unit && `(${unit})`))),
      isSingleRow ? null : el("th", {}, el("span", { class: "sr" }, "Remove"))),
  ), body));

  function draw() {
    const isForm = isDescribed && cells.length === 1;
    fill(place, isForm ? form() : table);
    if (isForm) return;
    fill(body, cells.map((row, at) => el(
      "tr", {}, el("th", { scope: "row", class: "number" }, at + 1),
      row.map((text, column) => el("td", {}, cell(at, column, text))),
      isSingleRow ? null : el("td", {}, button("×", () => removeRow(at), {
        class: "quiet icon", "aria-label": `Remove row ${at + 1}`, disabled: cells.length === 1,
      })),
    )));
  }

  function form() {
    return el("div", { class: "fields" }, columns.map((column, at) => {
      const control = cell(0, at, cells[0][at]);
      const range = column.range && !column.options ? rangeText(column.range) : "";
      const box = field(withUnit(column.title, column.unit && `(${column.unit})`), control, [column.hint, range].filter(Boolean).join(" · "));
      if (range && control.matches("input")) box.append(slider(column, at, control));
      return box;
    }));
  }

  /** Beside a number whose range is known: to see quickly what it does to the answer. */
  function slider({ spec, range: [least, most], title }, at, control) {
    const step = isFloat(spec.dtype) ? (most - least) / STEPS : Math.max(1, Math.round((most - least) / STEPS));
    const bar = el("input", {
      type: "range", min: least, max: most, step, value: Number(cells[0][at]), "aria-label": `${title}, slider`,
      oninput: () => {
        given.add(spec);
        cells[0][at] = control.value = String(Number(Number(bar.value).toPrecision(6)));
        mark(control, [least, most]);
        changed();
      },
    });
    control.addEventListener("input", () => {
      bar.value = control.value;
    });
    return bar;
  }

  function cell(row, column, text) {
    const { title, spec, options, range } = columns[column];
    const label = `Row ${row + 1}, ${title}`;
    const set = (value) => {
      given.add(spec);
      cells[row][column] = value;
      changed();
    };
    if (options) return choice(options.map((option) => [option, option]), text, set, { "aria-label": label });
    if (spec.dtype === "bool") {
      return choice([["false", "false"], ["true", "true"]], text || "false", set, { "aria-label": label });
    }
    const input = el("input", {
      type: "text", value: text, "aria-label": label, autocomplete: "off", spellcheck: "false",
      inputmode: spec.dtype === "string" ? "text" : "decimal",
      oninput: (event) => {
        mark(input, range);
        set(event.target.value);
      },
      onpaste: (event) => pasteAt(event, row, column),
    });
    mark(input, range);
    return input;
  }

  /** Marks a number that is out of the range the model was made for; it is sent all the same. */
  function mark(input, range) {
    const value = Number(input.value);
    const isOut = Boolean(range) && input.value.trim() !== "" && (value < range[0] || value > range[1]);
    input.classList.toggle("unusual", isOut);
    input.title = isOut ? `The model was made for ${rangeText(range)}.` : "";
  }

  function pasteAt(event, row, column) {
    const text = event.clipboardData.getData("text").replace(/\r?\n$/, "");
    const pasted = text.split(/\r?\n/).map((line) => line.split(line.includes("\t") ? "\t" : /,\s*/));
    if (pasted.length === 1 && pasted[0].length === 1) return;
    event.preventDefault();
    pasted.forEach((values, down) => {
      if (isSingleRow && row + down > 0) return;
      cells[row + down] ??= columns.map(blank);
      values.forEach((value, right) => {
        if (column + right >= columns.length) return;
        given.add(columns[column + right].spec);
        cells[row + down][column + right] = value.trim();
      });
    });
    draw();
    changed();
  }

  function addRow() {
    cells.push([...cells.at(-1)]);
    draw();
    body.lastChild.querySelector("input, select")?.focus();
    changed();
  }

  function removeRow(at) {
    cells.splice(at, 1);
    draw();
    const near = body.isConnected ? body.rows[Math.min(at, cells.length - 1)] : place;
    near.querySelector("input, select")?.focus();
    changed();
  }

  function values() {
    return new Map(specs.filter((spec) => given.has(spec)).map((spec) => [spec.name, cells.map((row, at) => valueOf(spec, row, at))]));
  }

  function valueOf(spec, row, at) {
    const mine = columns.map((column, i) => [column, row[i]]).filter(([column]) => column.spec === spec);
    const scalars = mine.map(([column, text]) =>
      column.read(text, (word) => scalarOf(word, spec.dtype, `Row ${at + 1}, ${column.title}`)));
    return rowDims(spec).length === 0 ? scalars[0] : scalars;
  }

  const blanks = (spec) => columns.filter((column) => column.spec === spec).map(blank);

  function accept(map) {
    const rows = Math.max(...specs.map((spec) => map.get(spec.name)?.length ?? 0));
    if (rows === 0 || (isSingleRow && rows > 1)) return false;
    const next = [];
    for (let at = 0; at < rows; at += 1) {
      const row = specs.flatMap((spec) => {
        if (!map.has(spec.name)) return blanks(spec);
        const value = map.get(spec.name)[at];
        return rowDims(spec).length === 0 ? [value] : value;
      });
      const isFlat = row.every((value) => value !== null && typeof value !== "object");
      if (row.length !== columns.length || !isFlat) return false;
      next.push(row.map((value, i) => (map.has(columns[i].spec.name) ? columns[i].show(value) : value)));
    }
    for (const spec of specs) {
      if (map.has(spec.name)) given.add(spec);
      else given.delete(spec);
    }
    cells = next;
    draw();
    return true;
  }

  draw();
  return {
    element: el("div", { class: "table-editor" }, place,
      isSingleRow ? null : button("Add a row", addRow, { class: "quiet" })),
    values,
    accept,
  };
}

/** What stands in a cell at first: a value that the model was made for. */
function blank({ spec, options, range }) {
  if (options) return options[0];
  if (spec.dtype === "bool") return "false";
  if (!isNumeric(spec.dtype)) return "";
  if (!range || (range[0] <= 1 && range[1] >= 1)) return "1";
  const middle = (range[0] + range[1]) / 2;
  return String(isFloat(spec.dtype) ? Number(middle.toPrecision(3)) : Math.round(middle));
}

/** A table as the editor of one input. */
export function singleTable(spec, isSingleRow, changed) {
  const one = { ...spec, isOptional: false }; // whether it is given at all is for the form to say
  const editor = tableEditor({ specs: [one], isSingleRow, changed });
  return {
    element: editor.element,
    rows: () => editor.values().get(spec.name),
    accept: (rows) => editor.accept(new Map([[spec.name, rows]])),
  };
}

/** Rows typed as lines of numbers, for vectors whose length is open or great. */
export function numbersEditor({ spec, changed }) {
  const area = el("textarea", {
    rows: 5, spellcheck: "false", "aria-label": `${spec.name}: a row per line`,
    placeholder: rowDims(spec).length ? "1, 2, 3\n4, 5, 6" : "1\n2\n3", oninput: changed,
  });
  const isScalar = rowDims(spec).length === 0;
  return {
    element: el("div", {}, area, el("p", { class: "hint" }, isScalar
      ? "One number per line."
      : "A row per line, its numbers separated by commas or blanks.")),
    rows() {
      const lines = area.value.split("\n").filter((line) => line.trim() !== "");
      if (lines.length === 0) throw new InputError(`${spec.name}: type some numbers first.`);
      const rows = lines.map((line, at) =>
        line.trim().split(/[\s,;]+/).filter(Boolean).map((word) => scalarOf(word, spec.dtype, `Line ${at + 1}`)));
      return isScalar ? rows.flat() : rows;
    },
    accept(rows) {
      const isFlat = (row) => Array.isArray(row) && row.every((v) => typeof v !== "object");
      if (isScalar ? !rows.every((v) => typeof v !== "object") : !rows.every(isFlat)) return false;
      area.value = rows.map((row) => (isScalar ? String(row) : row.join(", "))).join("\n");
      return true;
    },
  };
}
