// A place for files: dropped, pasted, chosen, or from the camera.

import { button, el, fill, freshId } from "../dom.js";
import { hasCamera, openCamera } from "./camera.js";

/**
 * The place.
 * @param ask {words, accept, isMany, onfiles(files), onvideo(video)|null}
 * @returns {{element, say(text)}} `say` shows an error or a file's name.
 */
export function dropBox({ words, accept, isMany, onfiles, onvideo }) {
  const input = el("input", {
    type: "file", accept, multiple: isMany, id: freshId("file"), class: "sr",
    onchange: () => {
      if (input.files.length) onfiles([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    },
  });
  const note = el("p", { class: "hint", role: "status" });
  const say = (text) => fill(note, text);
  const camera = onvideo && hasCamera()
    ? button("Camera", () => openCamera(onvideo, say), { class: "quiet" })
    : null;
  const element = el(
    "div",
    { class: "drop" },
    el("p", {}, words),
    el("div", { class: "row" }, input, el("label", { for: input.id, class: "button" }, isMany ? "Choose files" : "Choose a file"), camera),
    note,
  );

  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) onfiles(isMany ? files : files.slice(0, 1));
  });
  return { element, say };
}

/**
 * Hears pasted pictures while `element` is on the page; text fields keep their own pasting.
 */
export function hearPaste(element, onfiles) {
  const hear = (event) => {
    if (!element.isConnected) {
      document.removeEventListener("paste", hear);
      return;
    }
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (files.length) {
      event.preventDefault();
      onfiles(files);
    }
  };
  document.addEventListener("paste", hear);
}
