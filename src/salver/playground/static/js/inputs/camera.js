// One picture from the camera. Browsers allow it on pages with TLS and on this machine alone.

import { button, el } from "../dom.js";

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Opens a dialog with the camera's picture.
 * @param take called with the <video> when the person takes the picture.
 * @param fail called with words when there is no camera or it is not allowed.
 */
export async function openCamera(take, fail) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    fail(error.name === "NotAllowedError" ? "The camera is not allowed here." : "No camera was found.");
    return;
  }
  const video = el("video", { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  const dialog = el(
    "dialog",
    { class: "camera", "aria-label": "Camera" },
    video,
    el(
      "div",
      { class: "row" },
      button("Take the picture", () => {
        take(video);
        dialog.close();
      }, { class: "primary" }),
      button("Cancel", () => dialog.close()),
    ),
  );
  dialog.addEventListener("close", () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
