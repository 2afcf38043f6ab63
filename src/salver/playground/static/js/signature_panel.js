// What a model says of itself: its versions, and the tensors of a signature.

import { el, fill } from "./dom.js";
import { labelsOf, versionState } from "./states.js";
import { shapeText } from "./shapes.js";

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
      signature ? [el("h3", {}, "Signature ", el("code", { dir: "auto" }, signature.name)), tensors(signature)] : null,
      el("h3", {}, "Versions"), versionsTable(model),
    );
  }

  return { element, show };
}

function tensors({ inputs, outputs }) {
  const rows = (specs, what) => specs.map((spec) => el(
    "tr", {}, el("td", {}, what), el("th", { scope: "row", dir: "auto" }, spec.name),
    el("td", {}, el("code", {}, spec.dtype)), el("td", {}, shapeText(spec.shape)),
  ));
  return el("div", { class: "scroll" }, el("table", { class: "values" },
    el("thead", {}, el("tr", {}, ["", "Name", "Type", "Shape"].map((words) => el("th", { scope: "col" }, words)))),
    el("tbody", {}, rows(inputs, "input"), rows(outputs, "output"))));
}
