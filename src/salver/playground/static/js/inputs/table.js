// A table: a row per instance, a column per number. Cells pasted from a spreadsheet spread out.

import { button, choice, el, fill } from "../dom.js";
import { rowDims } from "../shapes.js";
import { InputError, scalarOf } from "../request.js";

/**
 * @param ask {specs, isSingleRow, changed}: the inputs that share the table.
 * @returns an editor of several inputs: values() is a Map of input → rows.
 */
export function tableEditor({ specs, isSingleRow, changed }) {
  const columns = specs.flatMap(columnsOf);
  let cells = [columns.map(blank)];
  const body = el("tbody");
  const table = el("table", { class: "cells" }, el(
    "thead", {}, el("tr", {}, el("th", { class: "number" }, "Row"),
      columns.map(({ title }) => el("th", { scope: "col" }, title)), isSingleRow ? null : el("th", {}, el("span", { class: "sr" }, "Remove"))),
  ), body);

  function draw() {
    fill(body, cells.map((row, at) => el(
      "tr", {}, el("th", { scope: "row", class: "number" }, at + 1),
      row.map((text, column) => el("td", {}, cell(at, column, text))),
      isSingleRow ? null : el("td", {}, button("×", () => removeRow(at), {
        class: "quiet icon", "aria-label": `Remove row ${at + 1}`, disabled: cells.length === 1,
      })),
    )));
  }

  function cell(row, column, text) {
    const { title, spec } = columns[column];
    const label = `Row ${row + 1}, ${title}`;
    const set = (value) => {
      cells[row][column] = value;
      changed();
    };
    if (spec.dtype === "bool") {
      return choice([["false", "false"], ["true", "true"]], text || "false", set, { "aria-label": label });
    }
    return el("input", {
      type: "text", value: text, "aria-label": label, autocomplete: "off", spellcheck: "false",
      inputmode: spec.dtype === "string" ? "text" : "decimal",
      oninput: (event) => set(event.target.value),
      onpaste: (event) => pasteAt(event, row, column),
    });
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
        if (column + right < columns.length) cells[row + down][column + right] = value.trim();
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
    body.rows[Math.min(at, cells.length - 1)].querySelector("input, select")?.focus();
    changed();
  }

  function values() {
    return new Map(specs.map((spec) => [spec.name, cells.map((row, at) => valueOf(spec, row, at))]));
  }

  function valueOf(spec, row, at) {
    const mine = columns.map((column, i) => [column, row[i]]).filter(([column]) => column.spec === spec);
    const scalars = mine.map(([{ title }, text]) => scalarOf(text, spec.dtype, `Row ${at + 1}, ${title}`));
    return rowDims(spec).length === 0 ? scalars[0] : scalars;
  }

  function accept(map) {
    const rows = Math.max(...specs.map((spec) => map.get(spec.name)?.length ?? 0));
    if (rows === 0 || (isSingleRow && rows > 1)) return false;
    const next = [];
    for (let at = 0; at < rows; at += 1) {
      const row = specs.flatMap((spec) => {
        const value = map.get(spec.name)[at];
        return rowDims(spec).length === 0 ? [value] : value;
      });
      const isFlat = row.every((value) => value !== null && typeof value !== "object");
      if (row.length !== columns.length || !isFlat) return false;
      next.push(row.map(String));
    }
    cells = next;
    draw();
    return true;
  }

  draw();
  return {
    element: el("div", { class: "table-editor" }, el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, table),
      isSingleRow ? null : button("Add a row", addRow, { class: "quiet" })),
    values,
    accept,
  };
}

function columnsOf(spec) {
  const dims = rowDims(spec);
  const size = dims.length === 0 ? 1 : dims[0];
  if (size === 1) return [{ spec, title: spec.name }];
  return Array.from({ length: size }, (_, i) => ({ spec, title: `${spec.name}[${i}]` }));
}

const blank = ({ spec }) => (spec.dtype === "bool" ? "false" : spec.dtype === "string" ? "" : "1");

/** A table as the editor of one input. */
export function singleTable(spec, isSingleRow, changed) {
  const editor = tableEditor({ specs: [spec], isSingleRow, changed });
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
