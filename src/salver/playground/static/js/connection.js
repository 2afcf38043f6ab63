// Whether the server answers, said at the top of the page while it does not.

import { button, el, fill } from "./dom.js";

const GREETING_MS = 4000;

/**
 * @param notice the element at the top. @param again tries at once.
 * @returns {{lost(error), found()}}
 */
export function connection(notice, again) {
  let since = 0; // when it was lost; 0 while it is not
  let clock = 0;
  let greeting = 0;

  function lost(error) {
    clearTimeout(greeting);
    if (!error.isLost) {
      show("bad", error.message, " ", error.hint ?? "");
      return;
    }
    if (since) return;
    since = Date.now();
    document.body.classList.add("lost");
    clock = setInterval(tell, 1000);
    tell();
  }

  function tell() {
    const seconds = Math.round((Date.now() - since) / 1000);
    const words = seconds < 2 ? "" : ` ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} ago`;
    // The time is not read out again and again.
    const time = el("span", { "aria-hidden": "true" }, words);
    const isNew = notice.hidden || !notice.classList.contains("bad");
    if (isNew) show("bad", el("span", {}, "The connection was lost"), time, el("span", {}, ": the server does not answer. Trying again … "), button("Try now", again, { class: "quiet" }));
    else notice.children[1]?.replaceWith(time);
  }

  function found() {
    if (!since) {
      if (notice.classList.contains("bad")) hide();
      return;
    }
    since = 0;
    clearInterval(clock);
    document.body.classList.remove("lost");
    show("good", "Connected again.");
    greeting = setTimeout(hide, GREETING_MS);
  }

  function show(tone, ...content) {
    notice.className = `notice ${tone}`;
    notice.hidden = false;
    fill(notice, ...content);
  }

  function hide() {
    notice.hidden = true;
    notice.className = "notice";
  }

  return { lost, found };
}
