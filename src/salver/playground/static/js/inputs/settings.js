// How pictures become numbers: shown whole, and remembered for each input of each signature.

import { choice, el, field, fill, tick } from "../dom.js";
import { isFloat } from "../shapes.js";
import { DEFAULTS, SCALES } from "../pixels.js";
import { recall, remember } from "../store.js";

/** The settings of one input, as remembered. Whole numbers are pixel values, floats from 0 to 1. */
export function settingsOf(key, spec) {
  return { ...DEFAULTS, scale: isFloat(spec.dtype) ? "unit" : "raw", ...recall(`picture:${key}`, {}) };
}

/**
 * The controls of the settings.
 * @param ask {key, spec, layout, settings, isDrawn, changed}; settings are changed in place.
 */
export function settingsPanel({ key, layout, settings, isDrawn, changed }) {
  const panel = el("div", { class: "settings" });
  const set = (name) => (value) => {
    settings[name] = value;
    remember(`picture:${key}`, settings);
    draw();
    changed();
  };
  const number = (name) =>
    el("input", {
      type: "number", value: settings[name], min: 1, max: name === "top" ? 65535 : 2048, class: "short",
      onchange: (event) => set(name)(Math.max(1, Number(event.target.value) || 1)),
    });

  function draw() {
    const focused = document.activeElement?.dataset?.setting;
    fill(
      panel,
      isDrawn ? null : field("Size", choice(
        [["crop", "Crop"], ["fit", "Fit inside"], ["stretch", "Stretch"]],
        settings.fit, set("fit"), { "data-setting": "fit" },
      )),
      field("Values", choice(SCALES, settings.scale, set("scale"), { "data-setting": "scale" })),
      settings.scale === "top" ? field("Largest value", number("top")) : null,
      layout.width < 0 ? field("Width", number("width")) : null,
      layout.height < 0 ? field("Height", number("height")) : null,
      layout.channels >= 3 ? field("Channels", choice(
        [["rgb", "RGB"], ["bgr", "BGR"]],
        settings.bgr ? "bgr" : "rgb", (value) => set("bgr")(value === "bgr"), { "data-setting": "bgr" },
      )) : null,
      el(
        "div",
        { class: "ticks" },
        layout.channels >= 3 && !isDrawn ? tick("Greyscale", settings.grey, set("grey")) : null,
        tick("Invert", settings.invert, set("invert")),
        isDrawn ? tick("Centre the drawing", settings.centre, set("centre")) : null,
      ),
    );
    if (focused) panel.querySelector(`[data-setting="${focused}"]`)?.focus();
  }

  draw();
  return panel;
}
