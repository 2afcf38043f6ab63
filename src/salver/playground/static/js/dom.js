// Making elements. Text only ever becomes a text node: a model's names, labels and answers may hold
// anything, and nothing here turns them into markup.

/**
 * An element.
 * @param {string} tag such as "button"; "svg:path" for SVG.
 * @param {object} attributes `class`, `onclick` and so on; false, null and undefined are left out.
 * @param {...(Node|string|number|null|Array)} children null is left out, arrays are flattened.
 */
export function el(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...nodes(children));
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "value" || name === "checked" || name === "selected") node[name] = value;
  else node.setAttribute(name, value === true ? "" : String(value));
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** A name as text that breaks at its joints, if it must. */
export const jointed = (text) => text.split(/(?<=[_.\-/])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));

/** Replaces what is in an element. */
export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

let lastId = 0;

/** An id that no other element has. */
export function freshId(prefix = "f") {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/** A control under its label. */
export function field(label, control, hint = "") {
  control.id ||= freshId();
  const about = hint ? el("span", { class: "hint", id: freshId() }, hint) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, about);
}

/** A box to tick with its words. */
export function tick(label, checked, onchange) {
  const box = el("input", { type: "checkbox", checked, onchange: () => onchange(box.checked) });
  return el("label", { class: "tick" }, box, el("span", {}, label));
}

/** A list to choose from: [value, words] pairs. */
export function choice(pairs, chosen, onchange, attributes = {}) {
  const select = el(
    "select",
    { ...attributes, onchange: () => onchange(select.value) },
    pairs.map(([value, words]) => el("option", { value, selected: value === chosen }, words)),
  );
  return select;
}

/** A few ways to do one thing, side by side: a radio group that looks like one control. */
export function segments(legend, pairs, chosen, onchange) {
  const name = freshId("seg");
  const options = pairs.map(([value, words]) => {
    const radio = el("input", {
      type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value),
    });
    return el("label", {}, radio, el("span", {}, words));
  });
  return el("fieldset", { class: "segments" }, el("legend", { class: "sr" }, legend), options);
}

/** A button. */
export function button(words, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, words);
}

/** Puts text on the clipboard, also where the page is no secure context; says whether it could. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "sr", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Offers data as a file to save. */
export function download(name, data, type = "application/json") {
  const url = URL.createObjectURL(new Blob([data], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
