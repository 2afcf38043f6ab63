// JSON as the server speaks it: with NaN and Infinity, and with integers of 64 bits, which become
// BigInt where a JavaScript number would round them.

const PLAIN = /NaN|Inf|[0-9]{16}/;

/** A float that must look like one: tf.Examples tell floats from integers by the point. */
export class Float {
  constructor(value) {
    this.value = value;
  }
}

/** A value as JSON on one line. */
export function write(value) {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value instanceof Float) {
    const text = String(value.value);
    return /^-?[0-9]+$/.test(text) ? `${text}.0` : text;
  }
  if (Array.isArray(value)) return `[${value.map(write).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const members = Object.entries(value).map(([key, of]) => `${JSON.stringify(key)}: ${write(of)}`);
    return `{${members.join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** A value as JSON, with line breaks where it is longer than a line. */
export function pretty(value, indent = "", width = 88) {
  const line = write(value);
  if (line.length + indent.length <= width || value === null || typeof value !== "object") {
    return line;
  }
  if (value instanceof Float) return line;
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((each) => typeof each === "number")) return wrapped(value, indent, width);
    const items = value.map((each) => deeper + pretty(each, deeper, width));
    return `[\n${items.join(",\n")}\n${indent}]`;
  }
  const members = Object.entries(value).map(
    ([key, of]) => `${deeper}${JSON.stringify(key)}: ${pretty(of, deeper, width - key.length - 4)}`,
  );
  return `{\n${members.join(",\n")}\n${indent}}`;
}

function wrapped(numbers, indent, width) {
  const lines = [];
  let line = "";
  for (const number of numbers) {
    const text = String(number);
    if (line && line.length + text.length + indent.length + 4 > width) {
      lines.push(line);
      line = "";
    }
    line += line ? `, ${text}` : text;
  }
  lines.push(line);
  return `[\n${lines.map((each) => `${indent}  ${each}`).join(",\n")}\n${indent}]`;
}

/** Reads JSON. Throws SyntaxError. */
export function parse(text) {
  return PLAIN.test(text) ? new Reader(text).whole() : JSON.parse(text);
}

// Only for what JSON.parse refuses or rounds, so it may be slow.
class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  whole() {
    const value = this.value();
    this.space();
    if (this.at < this.text.length) this.fail();
    return value;
  }

  value() {
    this.space();
    const sign = this.text[this.at];
    if (sign === "{") return this.object();
    if (sign === "[") return this.array();
    if (sign === '"') return this.string();
    return this.word();
  }

  object() {
    const members = [];
    this.at += 1;
    if (this.eat("}")) return {};
    do {
      this.space();
      if (this.text[this.at] !== '"') this.fail();
      const key = this.string();
      if (!this.eat(":")) this.fail();
      members.push([key, this.value()]);
    } while (this.eat(","));
    if (!this.eat("}")) this.fail();
    return Object.fromEntries(members);
  }

  array() {
    const items = [];
    this.at += 1;
    if (this.eat("]")) return items;
    do items.push(this.value());
    while (this.eat(","));
    if (!this.eat("]")) this.fail();
    return items;
  }

  string() {
    // Not by one pattern for the whole: on strings of megabytes it would overflow the stack.
    if (this.text[this.at] !== '"') this.fail();
    let end = this.at;
    do end = this.text.indexOf('"', end + 1);
    while (end > 0 && this.isEscaped(end));
    if (end < 0) this.fail();
    const found = this.text.slice(this.at, end + 1);
    this.at = end + 1;
    return JSON.parse(found);
  }

  /** Whether the sign at a place stands behind an odd number of backslashes. */
  isEscaped(place) {
    let from = place;
    while (this.text[from - 1] === "\\") from -= 1;
    return (place - from) % 2 === 1;
  }

  word() {
    const found = this.match(/-?(?:NaN|Infinity|Inf|[0-9][0-9.eE+-]*)|true|false|null/y);
    const named = { NaN: NaN, "-NaN": NaN, Inf: Infinity, Infinity, "-Inf": -Infinity };
    if (found in named) return named[found];
    if (found === "-Infinity") return -Infinity;
    const value = JSON.parse(found);
    const isRounded = /^-?[0-9]+$/.test(found) && !Number.isSafeInteger(value);
    return isRounded ? BigInt(found) : value;
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) this.fail();
    this.at = pattern.lastIndex;
    return found[0];
  }

  eat(sign) {
    this.space();
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  space() {
    while (" \t\r\n".includes(this.text[this.at] ?? "x")) this.at += 1;
  }

  fail() {
    throw new SyntaxError(`Unexpected character at position ${this.at} of the JSON`);
  }
}
