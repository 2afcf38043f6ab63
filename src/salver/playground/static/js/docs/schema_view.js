// A schema as a list that a person can open level by level.

import { el } from "../dom.js";
import { resolved, wordsOf } from "./document.js";

const MOST_DEPTH = 12;
const MOST_MEMBERS = 200;

/** @param document the OpenAPI document. @param schema one of it. @returns an element. */
export function schemaView(document, schema) {
  return el("div", { class: "schema" }, level(document, schema, 0));
}

function level(document, given, depth) {
  const schema = resolved(document, given);
  if (depth > MOST_DEPTH) return el("p", { class: "hint" }, "…");
  const forms = formsOf(document, schema);
  if (forms) {
    const title = schema.title ? el("p", { class: "schema-title", dir: "auto" }, schema.title) : null;
    return [title, words(schema), el("ul", { class: "forms" }, forms.map((form, at) => el("li", {}, formBox(document, form, at, depth))))];
  }
  if (schema.allOf) return schema.allOf.map((part) => level(document, part, depth + 1));
  const members = membersOf(document, schema);
  if (!members.length) return el("p", {}, el("span", { class: "type" }, wordsOf(document, schema)), words(schema));
  return [words(schema), el("dl", {}, members.slice(0, MOST_MEMBERS).map((each) => member(document, each, depth)),
    members.length > MOST_MEMBERS ? el("dd", { class: "hint" }, `and ${members.length - MOST_MEMBERS} more`) : null)];
}

/** The alternatives that need a look each; null where a few words say them all. */
function formsOf(document, schema) {
  const forms = schema.anyOf ?? schema.oneOf;
  return forms?.some((form) => isDeep(document, form)) ? forms : null;
}

const isDeep = (document, given) => {
  const schema = resolved(document, given);
  if (schema.properties?.b64) return false;
  const forms = schema.anyOf ?? schema.oneOf;
  if (forms?.every((form) => "const" in resolved(document, form))) return false;
  return Boolean(schema.properties || schema.anyOf || schema.oneOf || schema.allOf || membersOf(document, schema).length);
};

function formBox(document, given, at, depth) {
  const form = resolved(document, given);
  return el("details", { open: at === 0 }, el("summary", { dir: "auto" }, form.title || `Form ${at + 1}`),
    level(document, { ...form, title: "" }, depth + 1));
}

/** What has a name within a schema: {name, schema, isRequired}; the columns of a list of numbers, too. */
function membersOf(document, schema) {
  if (schema.properties && !schema.properties.b64) {
    return Object.entries(schema.properties).map(([name, of]) => ({ name, schema: of, isRequired: schema.required?.includes(name) }));
  }
  if (schema.prefixItems) return schema.prefixItems.map((of, at) => ({ name: resolved(document, of).title || `${at}`, schema: { ...resolved(document, of), title: "" }, isRequired: true }));
  if (schema.type === "array" && schema.items) return membersOf(document, resolved(document, schema.items));
  return [];
}

function member(document, { name, schema, isRequired }, depth) {
  const of = resolved(document, schema);
  const inner = isDeep(document, of) ? el("div", { class: "deeper" }, level(document, { ...insideOf(document, of), description: "" }, depth + 1)) : null;
  return [
    el("dt", {}, el("code", { dir: "auto" }, name), isRequired ? null : el("span", { class: "hint" }, " optional")),
    el("dd", {}, saidOf(document, of), el("span", { class: "type" }, wordsOf(document, of)), words(of), inner),
  ];
}

/** The title of a value; of a list of values that have no names, what each of them is. */
function saidOf(document, schema) {
  if (schema.title) return el("strong", { dir: "auto" }, schema.title);
  if (schema.type !== "array" || !schema.items || isDeep(document, schema)) return null;
  const item = resolved(document, schema.items);
  return [item.title ? el("strong", { dir: "auto" }, item.title) : null, words(item)];
}

/** What a list consists of, where that has members of its own. */
function insideOf(document, schema) {
  let inner = schema;
  while (inner.type === "array" && inner.items && !inner.prefixItems) inner = resolved(document, inner.items);
  return inner;
}

const words = ({ description }) => (description ? el("p", { class: "hint", dir: "auto" }, description.replaceAll("`", "")) : null);
