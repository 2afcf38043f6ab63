// Bytes of files for a string tensor: JPEG, PNG, sound, anything the model decodes itself. Each file
// is a row.

import { el, fill } from "../dom.js";
import { InputError } from "../request.js";
import { toBase64 } from "../tf_example.js";
import { isBatched, rowDims } from "../shapes.js";
import { dropBox, hearPaste } from "./drop.js";
import { canvasOf } from "../pixels.js";

const MOST_BYTES = 64 << 20; // of all files together
const MOST_SHOWN = 8;

/** @param ask {spec, changed} @returns an editor; see form.js. */
export function fileEditor({ spec, changed }) {
  const shown = el("div", { class: "original files" });
  const kind = spec.said?.kind;
  const isMany = isBatched(spec);
  let files = []; // {name, type, bytes}
  let addresses = [];

  const box = dropBox({
    words: isMany ? "Drop files here, or paste a picture." : "Drop a file here, or paste a picture.",
    accept: kind === "audio" ? "audio/*" : kind === "image" ? "image/*" : "",
    isMany, onfiles: open, onvideo: kind === "audio" ? null : takeVideo,
  });

  async function open(chosen) {
    const size = chosen.reduce((sum, file) => sum + file.size, 0);
    if (size > MOST_BYTES) {
      box.say(chosen.length > 1 ? "They are larger than 64 MiB." : `${chosen[0].name} is larger than 64 MiB.`);
      return false;
    }
    put(await Promise.all(chosen.map(async (file) => ({
      name: file.name ?? "Picture", type: file.type, bytes: new Uint8Array(await file.arrayBuffer()),
    }))));
    changed();
    return true;
  }

  function put(next) {
    files = next;
    const size = files.reduce((sum, { bytes }) => sum + bytes.length, 0).toLocaleString("en");
    const what = files.length === 1 ? files[0].name : `${files.length} files`;
    box.say(files.length ? `${what}, ${size} bytes, sent as they are` : "");
    addresses.forEach((address) => URL.revokeObjectURL(address));
    addresses = [];
    fill(shown, files.slice(0, MOST_SHOWN).map(view));
  }

  /** An <img> or <audio> runs nothing, whatever the file holds; only well-known kinds are tried. */
  function view({ name, type, bytes }) {
    const tag = /^image\/(png|jpeg|gif|webp|bmp)$/.test(type) ? "img"
      : /^audio\/(mpeg|wav|x-wav|ogg|flac|mp4|webm)$/.test(type) ? "audio" : null;
    if (!tag) return null;
    const address = URL.createObjectURL(new Blob([bytes], { type }));
    addresses.push(address);
    return tag === "img" ? el("img", { src: address, alt: `${name} as a picture` }) : el("audio", { src: address, controls: true });
  }

  function takeVideo(video) {
    const canvas = canvasOf(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => open([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
  }

  const element = el("div", { class: "picture-editor" }, box.element, shown);
  hearPaste(element, open);
  return {
    element,
    open,
    rows() {
      if (files.length === 0) throw new InputError("Choose a file first.");
      return files.map(({ bytes }) => rowDims(spec).reduceRight((inner) => [inner], { b64: toBase64(bytes) }));
    },
    accept(rows) {
      const values = rows.flat(Infinity);
      if (values.length !== rows.length || !values.every((value) => typeof value?.b64 === "string")) return false;
      put(values.map(({ b64 }, at) => ({
        name: values.length > 1 ? `File ${at + 1}` : "As given", type: "",
        bytes: Uint8Array.from(atob(b64), (sign) => sign.charCodeAt(0)),
      })));
      return true;
    },
  };
}
