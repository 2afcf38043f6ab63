// How pictures become numbers: shown whole, and remembered for each input of each signature.

import { choice, el, field, fill, tick } from "../dom.js";
import { isFloat } from "../shapes.js";
import { DEFAULTS, SCALES } from "../pixels.js";
import { numberText } from "../results.js";
import { recall, remember } from "../store.js";

/** What the model says of it, so that what was chosen for another model is not taken for this one. */
const saidOf = ({ said = {} }) => JSON.stringify([said.range, said.inverted, said.layout]);

/** The settings of one input: as remembered, else as the model says, else as most models want. */
export function settingsOf(key, spec) {
  const { said = {}, meaning } = spec;
  const isLineArt = said.inverted !== undefined && meaning?.kinds[0] === "pad";
  const kept = recall(`picture:${key}`, {});
  const own = {
    ...DEFAULTS,
    scale: said.range ? "said" : isFloat(spec.dtype) ? "unit" : "raw",
    range: said.range ?? null,
    invert: meaning?.ground ? "auto" : "no",
    fit: isLineArt ? "marks" : "crop",
  };
  return kept.said === saidOf(spec) ? { ...own, ...kept.settings } : own;
}

/** From 0 to 16. */
export const rangeText = ([least, most]) =>
  `${numberText(least).replace("-", "−")} to ${numberText(most).replace("-", "−")}`;

/**
 * The controls of the settings.
 * @param ask {key, spec, layout, settings, isDrawn, changed}; settings are changed in place.
 * @returns {{element, set(name, value)}}
 */
export function settingsPanel({ key, spec, layout, settings, isDrawn, changed }) {
  const panel = el("div", { class: "settings" });
  const { said = {} } = spec;
  const scales = said.range ? [["said", `${rangeText(said.range)}, as it says`], ...SCALES] : SCALES;

  function put(name, value) {
    settings[name] = value;
    remember(`picture:${key}`, { said: saidOf(spec), settings });
    draw();
    changed();
  }

  const set = (name) => (value) => put(name, value);
  const number = (name) =>
    el("input", {
      type: "number", value: settings[name], min: 1, max: name === "top" ? 65535 : 2048, class: "short",
      onchange: (event) => put(name, Math.max(1, Number(event.target.value) || 1)),
    });

  function draw() {
    const focused = document.activeElement?.dataset?.setting;
    fill(
      panel,
      isDrawn ? null : field("Size", choice(
        [["crop", "Crop"], ["fit", "Fit inside"], ["stretch", "Stretch"], ["marks", "Crop to marks"]],
        settings.fit, set("fit"), { "data-setting": "fit" },
      )),
      field("Values", choice(scales, settings.scale, set("scale"), { "data-setting": "scale" })),
      settings.scale === "top" ? field("Largest value", number("top")) : null,
      layout.width < 0 ? field("Width", number("width")) : null,
      layout.height < 0 ? field("Height", number("height")) : null,
      layout.channels >= 3 ? field("Channels", choice(
        [["rgb", "RGB"], ["bgr", "BGR"]],
        settings.bgr ? "bgr" : "rgb", (value) => put("bgr", value === "bgr"), { "data-setting": "bgr" },
      )) : null,
      field("Invert", choice(
        [["auto", "If needed"], ["yes", "Always"], ["no", "Never"]],
        settings.invert, set("invert"), { "data-setting": "invert" },
      )),
      el(
        "div",
        { class: "ticks" },
        layout.channels >= 3 && !isDrawn ? tick("Greyscale", settings.grey, set("grey")) : null,
        isDrawn ? tick("Centre the drawing", settings.centre, set("centre")) : null,
      ),
    );
    if (focused) panel.querySelector(`[data-setting="${focused}"]`)?.focus();
  }

  draw();
  return { element: panel, set: put };
}

/** What was guessed of a picture, for a person who wonders about the answer; null for nothing. */
export function guessNote({ meaning }) {
  const guesses = meaning?.guesses ?? [];
  if (!guesses.length) return null;
  const words = guesses.length > 1 ? `${guesses.slice(0, -1).join(", ")} and ${guesses.at(-1)}` : guesses[0];
  return el("p", { class: "hint guess" }, `Guessed, since the model does not say: ${words}.`);
}
