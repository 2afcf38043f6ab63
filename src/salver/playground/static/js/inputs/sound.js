// A sound as a waveform: decoded by the browser, mixed to one channel, at the rate the model takes.

import { el, field, fill } from "../dom.js";
import { samplingRate } from "../meaning.js";
import { InputError } from "../request.js";
import { isInteger, rowDims } from "../shapes.js";
import { dropBox } from "./drop.js";

const MOST_SAMPLES = 2000000;

/** @param ask {spec, changed} @returns an editor; see form.js. */
export function soundEditor({ spec, changed }) {
  const dims = rowDims(spec);
  const size = dims[0] ?? -1; // without a batch axis the samples are the rows
  const note = el("p", { class: "hint", role: "status" });
  const player = el("div", { class: "original" });
  const rate = el("input", {
    type: "number", min: 3000, max: 192000, class: "short", value: samplingRate(spec.said?.unit), onchange: () => redo(),
  });
  let data = null;
  let samples = null;
  let address = "";

  const box = dropBox({ words: "Drop a sound here.", accept: "audio/*", isMany: false, onfiles: open, onvideo: null });

  async function open([file]) {
    data = await file.arrayBuffer();
    box.say(file.name);
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    fill(player, el("audio", { src: address, controls: true }));
    return redo();
  }

  async function redo() {
    if (data === null) return false;
    try {
      const context = new OfflineAudioContext(1, 1, Number(rate.value) || 16000);
      samples = mixed(await context.decodeAudioData(data.slice(0)));
    } catch {
      samples = null;
      box.say("It is no sound that this browser can read.");
      return false;
    }
    const seconds = samples.length / Number(rate.value);
    const cut = size > 0 && size !== samples.length ? `; ${size > samples.length ? "filled up" : "cut"} to ${size}` : "";
    fill(note, `${samples.length.toLocaleString("en")} samples, ${seconds.toFixed(1)} s${cut}`);
    changed();
    return true;
  }

  return {
    element: el("div", { class: "picture-editor" }, box.element, player, note, el("div", { class: "settings" }, field("Samples per second", rate))),
    open,
    rows() {
      if (samples === null) throw new InputError("Choose a sound first.");
      if (samples.length > MOST_SAMPLES) throw new InputError("The sound is too long to be sent as numbers.");
      const made = fitted(samples, size, spec);
      return dims.length === 0 ? made : [made];
    },
    accept: () => false,
  };
}

function mixed(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i));
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

/** From −1 to 1, or to the range that the model says; whole numbers to that of 16 bits. */
function fitted(samples, size, spec) {
  const whole = isInteger(spec.dtype);
  const [least, most] = spec.said?.range ?? (whole ? [-32768, 32767] : [-1, 1]);
  const middle = (least + most) / 2;
  const length = size > 0 ? size : samples.length;
  return Array.from({ length }, (_, at) => {
    const value = middle + (Math.max(-1, Math.min(1, samples[at] ?? 0)) * (most - least)) / 2;
    return whole ? Math.round(value) : Number(value.toPrecision(6));
  });
}
