// A file's bytes for a string tensor: JPEG, PNG, sound, anything the model decodes itself.

import { el, fill } from "../dom.js";
import { InputError } from "../request.js";
import { toBase64 } from "../tf_example.js";
import { rowDims } from "../shapes.js";
import { dropBox, hearPaste } from "./drop.js";
import { canvasOf } from "../pixels.js";

const MOST_BYTES = 64 << 20;

/** @param ask {spec, changed} @returns an editor; see form.js. */
export function fileEditor({ spec, changed }) {
  const shown = el("div", { class: "original" });
  let bytes = null;
  let address = "";

  const box = dropBox({ words: "Drop a file here, or paste a picture.", accept: "", onfile: open, onvideo: takeVideo });

  async function open(file) {
    if (file.size > MOST_BYTES) {
      box.say(`${file.name} is larger than 64 MiB.`);
      return;
    }
    bytes = new Uint8Array(await file.arrayBuffer());
    box.say(`${file.name ?? "Picture"}, ${bytes.length.toLocaleString("en")} bytes, sent as they are`);
    URL.revokeObjectURL(address);
    // An <img> runs nothing, whatever the file holds; only well-known kinds of picture are tried.
    const isPicture = /^image\/(png|jpeg|gif|webp|bmp)$/.test(file.type);
    address = isPicture ? URL.createObjectURL(file) : "";
    fill(shown, isPicture ? el("img", { src: address, alt: "The file as a picture" }) : null);
    changed();
  }

  function takeVideo(video) {
    const canvas = canvasOf(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => open(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
  }

  const element = el("div", { class: "picture-editor" }, box.element, shown);
  hearPaste(element, open);
  return {
    element,
    rows() {
      if (bytes === null) throw new InputError("Choose a file first.");
      const value = { b64: toBase64(bytes) };
      return [rowDims(spec).reduceRight((inner) => [inner], value)];
    },
    accept: () => false,
  };
}
