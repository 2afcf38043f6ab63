// What the page needs of an OpenAPI document: its operations, example values, the curl line. Pure.

import { write } from "../json.js";
import { shellWord } from "../snippets.js";

const METHODS = ["get", "post", "put", "delete"];
const MOST_ITEMS = 200_000; // of an example that is made up: a picture has that many numbers
const MOST_DEPTH = 40;
const MOST_ON_A_LINE = 1000; // characters of a body that a person still likes to see in a command

/**
 * The operations, those of a model in the place of the templates they fill in.
 * @returns {Array<{id, family, method, path, about, isOfModel, isRare}>} rare is what the model that is
 *     described has another form of, or lacks.
 */
export function operationsOf(document) {
  const all = Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => read(path, method, item[method])));
  const filled = new Set(all.filter(({ isOfModel }) => isOfModel).map(({ family }) => family));
  return all
    .filter(({ isOfModel, family }) => isOfModel || !filled.has(family))
    .map((each) => ({ ...each, isRare: isRare(each, filled.size > 0) }));
}

const isRare = ({ path, about, isOfModel }, isDescribed) =>
  !isOfModel && ((isDescribed && about["x-of-model"]) || /\{(version|label)\}/.test(path));

function read(path, method, about) {
  const id = about.operationId ?? `${method} ${path}`;
  const [family] = id.split(".");
  return { id, family, method, path, about, isOfModel: family !== id };
}

/** Operations by their tag, in the order of the document's tags: [tag, operations] pairs. */
export function byTag(document, operations) {
  const tags = new Set([...(document.tags ?? []).map(({ name }) => name), ...operations.map(tagOf)]);
  return [...tags]
    .map((tag) => [tag, operations.filter((each) => tagOf(each) === tag).sort((a, b) => b.isOfModel - a.isOfModel)])
    .filter(([, found]) => found.length);
}

const tagOf = ({ about }) => about.tags?.[0] ?? "Other";

/** A schema or an answer that may stand elsewhere in the document. */
export function resolved(document, value) {
  let found = value;
  for (let steps = 0; found?.$ref && steps < 10; steps += 1) {
    const place = found.$ref.replace(/^#\//, "").split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    found = place.reduce((at, key) => (at && Object.hasOwn(at, key) ? at[key] : undefined), document);
  }
  return found ?? {};
}

/** What a request's body is: {schema, examples: [{title, value}], isRequired}; null without one. */
export function bodyOf(document, about) {
  const body = resolved(document, about.requestBody ?? null);
  const content = body.content?.["application/json"];
  if (!content) return null;
  const examples = Object.values(content.examples ?? {}).map((each) => resolved(document, each))
    .map(({ summary, value }, at) => ({ title: summary || `Example ${at + 1}`, value }));
  if (!examples.length && "example" in content) examples.push({ title: "Example", value: content.example });
  if (!examples.length) {
    const value = sampleOf(document, content.schema ?? {});
    if (value !== undefined) examples.push({ title: "Made of the schema", value });
  }
  return { schema: content.schema ?? {}, examples, isRequired: Boolean(body.required) };
}

/** A value that a schema takes; undefined where it would be too long. */
export function sampleOf(document, schema) {
  const left = { items: MOST_ITEMS };
  const value = sampled(document, schema, left, 0);
  return left.items < 0 ? undefined : value;
}

function sampled(document, given, left, depth) {
  const schema = resolved(document, given);
  left.items -= 1;
  if (left.items < 0 || depth > MOST_DEPTH || schema === true) return null;
  if ("const" in schema) return schema.const;
  if (schema.enum?.length) return schema.enum[0];
  if (schema.examples?.length) return schema.examples[0];
  if ("default" in schema) return schema.default;
  const choice = (schema.anyOf ?? schema.oneOf)?.[0];
  if (choice) return sampled(document, choice, left, depth + 1);
  if (schema.allOf?.length) {
    const parts = schema.allOf.map((part) => sampled(document, part, left, depth + 1));
    return parts.every(isObject) ? Object.assign({}, ...parts) : parts[0];
  }
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "object" || schema.properties) return sampledObject(document, schema, left, depth);
  if (type === "array") return sampledArray(document, schema, left, depth);
  return scalar(type, schema);
}

function sampledObject(document, schema, left, depth) {
  const names = schema.required ?? Object.keys(schema.properties ?? {});
  return Object.fromEntries(names.map((name) => [name, sampled(document, schema.properties?.[name] ?? {}, left, depth + 1)]));
}

function sampledArray(document, schema, left, depth) {
  const first = (schema.prefixItems ?? []).map((each) => sampled(document, each, left, depth + 1));
  const length = Math.max(schema.minItems ?? 0, schema.items ? 1 : 0);
  if (length > left.items) left.items = -1;
  while (left.items >= 0 && first.length < length) first.push(sampled(document, schema.items ?? {}, left, depth + 1));
  return first;
}

/** The least and the greatest value; numbers of 64 bits were read as BigInt. */
const ends = ({ minimum, maximum }) => [minimum, maximum].map((end) => (end === undefined ? end : Number(end)));

function scalar(type, schema) {
  const [minimum, maximum] = ends(schema);
  if (type === "string") return "text";
  if (type === "boolean") return true;
  if (type === "integer" || type === "number") {
    const isNarrow = minimum !== undefined && maximum !== undefined && maximum - minimum < 1e6;
    const middle = isNarrow ? (minimum + maximum) / 2 : Math.max(minimum ?? 1, Math.min(maximum ?? 1, 1));
    return type === "integer" ? Math.round(middle) : middle;
  }
  return null;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/**
 * The target of a call.
 * @param values a Map: name of a parameter → text; those of the query that are empty are left out.
 */
export function targetOf({ path, about }, values) {
  const filled = path.replace(/\{([^}]+)\}/g, (_, name) => encodeURIComponent(values.get(name) ?? ""));
  const query = new URLSearchParams();
  for (const { in: place, name } of about.parameters ?? []) {
    if (place === "query" && values.get(name)) query.set(name, values.get(name));
  }
  return `${filled}${query.size ? `?${query}` : ""}`;
}

/** The parts of a path that are not filled in yet. */
export const missing = ({ about }, values) =>
  (about.parameters ?? []).filter(({ in: place, required, name }) => place === "path" && required && !values.get(name)).map(({ name }) => name);

/** The call as a command. @param body text; null for none. */
export function curlOf(origin, method, target, body) {
  const url = shellWord(`${origin}${target}`);
  const isGet = method === "get";
  if (body === null) return isGet ? `curl ${url}` : `curl -X ${method.toUpperCase()} ${url}`;
  const data = body.length > MOST_ON_A_LINE ? "@request.json" : shellWord(compact(body));
  const verb = method === "post" ? "" : ` -X ${method.toUpperCase()}`;
  return `curl${verb} -H 'Content-Type: application/json' -d ${data} \\\n  ${url}`;
}

export const needsFile = (body) => body !== null && body.length > MOST_ON_A_LINE;

const compact = (text) => text.replace(/\n\s*/g, " ").trim();

/** A schema in a few words: "array of numbers", "text", "one of 3 forms". */
export function wordsOf(document, given) {
  const schema = resolved(document, given);
  if ("const" in schema) return write(schema.const);
  if (schema.enum) return schema.enum.length > 6 ? `one of ${schema.enum.length} values` : schema.enum.map(write).join(" or ");
  const forms = schema.anyOf ?? schema.oneOf;
  if (forms) {
    if (forms.every((form) => "const" in resolved(document, form))) return chosen(document, forms);
    return forms.length > 3 ? `one of ${forms.length} forms` : forms.map((form) => wordsOf(document, form)).join(" or ");
  }
  if (schema.allOf) return schema.allOf.map((part) => wordsOf(document, part)).find((words) => words !== "anything") ?? "anything";
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type;
  if (type === "array") return listWords(document, schema);
  if (type === "object" && schema.properties?.b64) return 'bytes as {"b64": "…"}';
  if (type === undefined) return schema.properties ? "object" : "anything";
  return `${{ string: "text", integer: "whole number" }[type] ?? type}${limits(schema)}`;
}

const chosen = (document, forms) => forms.map((form) => resolved(document, form))
  .map((form) => `${write(form.const)}${form.title ? ` (${form.title})` : ""}`).slice(0, 12).join(", ") + (forms.length > 12 ? ", …" : "");

function listWords(document, schema) {
  const sizes = [];
  let inner = schema;
  while (inner.type === "array" && !inner.prefixItems && sizes.length < MOST_DEPTH) {
    sizes.push(inner.minItems !== undefined && inner.minItems === inner.maxItems ? inner.minItems : "?");
    inner = resolved(document, inner.items ?? {});
  }
  if (inner.prefixItems) return `list [${[...sizes, inner.prefixItems.length].join(" × ")}]`;
  return `list [${sizes.join(" × ")}] of ${wordsOf(document, inner)}`;
}

function limits(schema) {
  const [minimum, maximum] = ends(schema);
  const isWide = Math.abs(minimum ?? Infinity) > 1e15 || Math.abs(maximum ?? Infinity) > 1e15;
  if (minimum === undefined && maximum === undefined) return "";
  if (isWide) return minimum === 0 ? " from 0" : "";
  return `, ${minimum} to ${maximum}`;
}
