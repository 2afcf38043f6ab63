// What is shown where the server asks who is there. Brought when it does.

import { key, keepKey } from "./credentials.js";
import { button, el, field, fill } from "./dom.js";

const NOT_ASCII = /[^!-~]/;

/**
 * A form for a key.
 * @param enter called when there is one to try.
 * @returns {{element, refused(words)}} `refused` says why the key was not taken.
 */
export function signIn(enter) {
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });

  function submit(event) {
    event.preventDefault();
    const value = input.value.trim();
    if (!value || NOT_ASCII.test(value)) {
      refused("A key has no blanks and no other letters than those of English.");
      return;
    }
    problem.hidden = true;
    keepKey(value);
    enter();
  }

  function refused(words) {
    keepKey("");
    fill(problem, words);
    problem.hidden = false;
    input.focus();
    input.select();
  }

  const form = el(
    "form",
    { class: "card sign-in", onsubmit: submit },
    el("h1", { tabindex: "-1" }, "Sign in"),
    el("p", {}, "This server asks who is there. Enter the API key, or the token, that you were given."),
    field("Key", input, "It is kept in this tab, until you close it or sign out."),
    problem,
    el("div", { class: "row" }, el("button", { type: "submit", class: "primary" }, "Sign in")),
  );
  return { element: form, refused };
}

let out = null; // the button

/** A button that is there while somebody is signed in. */
export function showSignOut(leave) {
  if (out === null) {
    out = button("Sign out", () => {
      keepKey("");
      leave();
    }, { class: "quiet", id: "sign-out" });
    document.getElementById("theme").before(out);
  }
  out.hidden = !key();
}
