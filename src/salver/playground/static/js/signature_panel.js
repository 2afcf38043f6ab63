// What a model says of itself: its versions, and the tensors of a signature.

import { el, fill } from "./dom.js";
import { labelsOf, versionState } from "./states.js";
import { rangeText } from "./inputs/settings.js";
import { shapeText } from "./shapes.js";

const MOST_LISTED = 12;

/** All versions with states, labels and errors. */
export function versionsTable(model) {
  const versions = model.model_version_status;
  const hasLabels = versions.some(({ version }) => labelsOf(model, version).length > 0);
  const hasErrors = versions.some((version) => version.status.error_message);
  const head = ["Version", "State", hasLabels && "Labels", hasErrors && "Error"].filter(Boolean);
  const rows = versions.map((version) => {
    const { word, tone, message } = versionState(version);
    return el(
      "tr", {},
      el("th", { scope: "row" }, version.version),
      el("td", {}, el("span", { class: "state" }, el("i", { class: `dot ${tone}`, "aria-hidden": "true" }), word)),
      hasLabels && el("td", {}, labelsOf(model, version.version).map((label) => [el("span", { class: "chip", dir: "auto" }, label), " "])),
      hasErrors && el("td", { class: "message", dir: "auto" }, message),
    );
  });
  return el("div", { class: "scroll" }, el("table", { class: "values versions" },
    el("thead", {}, el("tr", {}, head.map((words) => el("th", { scope: "col" }, words)))),
    el("tbody", {}, rows)));
}

/** The panel. `show(model, signature)`; signature is null where there is none to show. */
export function signaturePanel() {
  const place = el("div", { class: "about-model" });
  const element = el("section", { class: "card", "aria-labelledby": "about-title" }, el("h2", { id: "about-title" }, "About this model"), place);
  let drawn = "";

  function show(model, signature) {
    const now = JSON.stringify([model, signature]);
    if (now === drawn) return;
    drawn = now;
    fill(
      place,
      signature ? [el("h3", {}, "Signature ", el("code", { dir: "auto" }, signature.name)), words(signature), tensors(signature)] : null,
      el("h3", {}, "Versions"), versionsTable(model),
    );
  }

  return { element, show };
}

const words = ({ title, description }) => [title, description].filter(Boolean).map((text) => el("p", { class: "hint", dir: "auto" }, text));

function tensors({ inputs, outputs }) {
  const isDescribed = [...inputs, ...outputs].some(({ said }) => factsOf(said).length > 0);
  const rows = (specs, what) => specs.map((spec) => el(
    "tr", {}, el("td", {}, what), el("th", { scope: "row", dir: "auto" }, spec.name),
    el("td", {}, el("code", {}, spec.dtype)), el("td", { class: "shape" }, shapeText(spec.shape)),
    isDescribed ? el("td", { class: "meaning", dir: "auto" }, factsOf(spec.said).join("; ")) : null,
  ));
  const head = ["", "Name", "Type", "Shape", ...(isDescribed ? ["Meaning"] : [])];
  return el("div", { class: "scroll" }, el("table", { class: "values" },
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows(inputs, "input"), rows(outputs, "output"))));
}

/** What a model says of a tensor, in a few words each. */
function factsOf(said = {}) {
  const list = (values) => values.slice(0, MOST_LISTED).join(", ") + (values.length > MOST_LISTED ? ", …" : "");
  return [
    said.title,
    !said.labels?.length && said.kind && (said.layout ? `${said.kind}, ${said.layout}` : said.kind),
    said.range && `from ${rangeText(said.range)}${said.unit ? ` ${said.unit}` : ""}`,
    !said.range && said.unit && `in ${said.unit}`,
    said.inverted !== undefined && (said.inverted ? "light on dark" : "dark on light"),
    said.names?.length && list(said.names.map((name, i) => (said.units?.[i] ? `${name} (${said.units[i]})` : name))),
    said.choices?.length && `one of ${list(said.choices)}`,
    said.labels?.length && `${said.labels.length} classes: ${list(said.labels)}`,
    said.threshold !== undefined && `threshold ${said.threshold}`,
  ].filter(Boolean);
}
