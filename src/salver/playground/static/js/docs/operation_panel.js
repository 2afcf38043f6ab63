// One operation: what it is, its parameters and body to fill in, the answer, the same call as curl.

import { button, choice, copyText, download, el, field, fill } from "../dom.js";
import { parse, pretty } from "../json.js";
import { latencyText, sizeText } from "../units.js";
import { send } from "./call.js";
import { bodyOf, curlOf, missing, needsFile, resolved, targetOf } from "./document.js";
import { schemaView } from "./schema_view.js";

const MOST_PRETTY = 100_000; // characters that are laid out anew
const FEWEST_LINES = 5; // of the field for a body
const MOST_LINES = 20;
const MOST_TYPED = 500_000; // characters of an example that a text field holds well

/**
 * @param ask {document, operation, values: Map of parameters that are known, offers: Map of lists}
 * @returns {{element, leave()}}
 */
export function operationPanel({ document, operation, values: known, offers }) {
  const { about, method, path } = operation;
  const values = new Map(known);
  const body = bodyOf(document, about);
  const area = body ? el("textarea", { class: "code", spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": "Body of the request, JSON", oninput: changed }) : null;
  const note = el("p", { class: "hint", role: "status" });
  const command = el("pre", { class: "code scroll", tabindex: 0, "aria-label": "The same call with curl" });
  const target = el("code", { class: "target" });
  const answer = el("div", { class: "answer-box" });
  const live = el("p", { class: "sr", role: "status", "aria-live": "polite" });
  const run = button("Send", submit, { class: "primary" });
  const cancel = button("Cancel", () => asking?.abort(), { hidden: true });
  const save = button("Save request.json", () => download("request.json", area.value), { hidden: true });
  const copy = button("Copy", async () => {
    fill(copy, (await copyText(command.textContent)) ? "Copied" : "Select and copy it by hand");
    setTimeout(() => fill(copy, "Copy"), 1500);
  });
  let asking = null;

  const element = el("article", { class: "operation" },
    el("header", { class: "title" }, el("h1", { tabindex: -1, dir: "auto" }, about.summary ?? path),
      el("p", { class: "line" }, badge(method), el("code", { dir: "ltr" }, path)),
      about.description ? el("p", { class: "lead", dir: "auto" }, about.description.replaceAll("`", "")) : null),
    el("div", { class: "work" }, requestCard(), el("section", { class: "card", "aria-labelledby": "answer-title" },
      el("h2", { id: "answer-title" }, "Answer"), live, answer)),
    el("section", { class: "card", "aria-labelledby": "curl-title" }, el("h2", { id: "curl-title" }, "The same with curl"),
      el("div", { class: "snippets" }, command, el("div", { class: "row" }, copy, save))),
    answersCard());

  function requestCard() {
    const form = el("form", { class: "card request", "aria-labelledby": "request-title", onsubmit: (event) => { event.preventDefault(); submit(); }, onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        submit();
      }
    } },
      el("h2", { id: "request-title" }, "Request"),
      (about.parameters ?? []).map(parameterField),
      body ? bodyFields() : null,
      el("div", { class: "row run" }, run, cancel, target), note,
      body ? el("details", {}, el("summary", {}, "What the body may hold"), schemaView(document, body.schema)) : null);
    return form;
  }

  function parameterField(given) {
    const { name, description, required, in: place } = resolved(document, given);
    const offered = offers.get(name) ?? [];
    const control = offered.length
      ? choice([...(values.get(name) ? [] : [["", ""]]), ...offered.map((value) => [value, value])], values.get(name) ?? "", put)
      : el("input", { type: "text", value: values.get(name) ?? "", autocomplete: "off", spellcheck: "false", oninput: (event) => put(event.target.value) });
    if (required) control.required = true;
    function put(value) {
      values.set(name, value);
      changed();
    }
    return field(place === "query" ? `${name} (query)` : name, control, description ?? "");
  }

  function bodyFields() {
    const { examples } = body;
    const pick = examples.length > 1
      ? field("Example", choice(examples.map(({ title }, at) => [`${at}`, title]), "0", (at) => put(examples[Number(at)])))
      : null;
    const put = ({ value }) => {
      const text = pretty(value);
      const isLong = text.length > MOST_TYPED;
      area.value = isLong ? "" : text;
      area.rows = Math.max(FEWEST_LINES, Math.min(MOST_LINES, area.value.split("\n").length + 1));
      if (isLong) fill(note, "The example is too long for this field.");
      changed();
    };
    if (examples.length) put(examples[0]);
    const words = examples.length === 1 ? el("p", { class: "hint", dir: "auto" }, `Example: ${examples[0].title}`) : null;
    return [pick, words, area];
  }

  function changed() {
    const at = targetOf(operation, values);
    const text = area && (area.value.trim() || body.isRequired) ? area.value : null;
    fill(target, at);
    fill(command, curlOf(location.origin, method, at, text));
    save.hidden = !needsFile(text);
    fill(note, area && text !== null ? problemOf(text) : "");
  }

  async function submit() {
    const lacking = missing(operation, values);
    if (lacking.length) {
      fill(note, `Fill in ${lacking.join(", ")} first.`);
      element.querySelector("[required]:invalid")?.focus();
      return;
    }
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    cancel.hidden = false;
    answer.setAttribute("aria-busy", "true");
    fill(live, "Sending …");
    const text = area && (area.value.trim() || body.isRequired) ? area.value : null;
    try {
      const got = await send({ method, target: targetOf(operation, values), body: text, signal: mine.signal }, (part) => mine === asking && draw(part, true));
      if (mine !== asking) return;
      draw(got, false);
      fill(live, `${statusWords(got.status)}, ${latencyText(got.ms)}`);
    } catch (error) {
      if (mine !== asking) return;
      const isGivenUp = error.name === "AbortError";
      if (!isGivenUp) fill(answer, el("div", { class: "error" }, el("p", {}, error.message), el("p", { class: "hint" }, error.hint ?? "")));
      fill(live, isGivenUp ? "Given up." : error.message);
    } finally {
      if (mine === asking) {
        cancel.hidden = true;
        answer.removeAttribute("aria-busy");
      }
    }
  }

  function draw({ status, ok, ms, bytes, text, isCut, version, type }, isPart) {
    const facts = el("div", { class: "facts" }, el("p", {},
      el("span", { class: `chip${ok ? "" : " bad"}` }, statusWords(status)), el("span", {}, latencyText(ms)), el("span", {}, sizeText(bytes)),
      version ? el("span", {}, `version ${version}`) : null));
    const shown = isPart ? text : laidOut(text, type, isCut);
    fill(answer, facts, shown
      ? el("pre", { class: "code scroll", tabindex: 0, "aria-label": "Body of the answer" }, shown)
      : isPart ? null : el("p", { class: "hint" }, "The answer has no body."),
    isCut ? el("p", { class: "hint" }, "Only its beginning is shown.") : null);
  }

  function answersCard() {
    const rows = Object.entries(about.responses ?? {}).map(([status, given]) => {
      const response = resolved(document, given);
      const schema = response.content?.["application/json"]?.schema;
      return el("tr", {}, el("th", { scope: "row" }, status), el("td", {}, el("span", {}, (response.description ?? "").replaceAll("`", "")),
        schema && status < "300" ? el("details", {}, el("summary", {}, "What it holds"), schemaView(document, schema)) : null));
    });
    return el("section", { class: "card", "aria-labelledby": "answers-title" }, el("h2", { id: "answers-title" }, "What it answers"),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Answers by status" },
        el("table", { class: "values statuses" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Status"), el("th", { scope: "col" }, "Meaning"))), el("tbody", {}, rows))));
  }

  fill(answer, el("p", { class: "placeholder" }, "Send the request, and its answer will appear here."));
  changed();
  return { element, leave: () => asking?.abort() };
}

/** The method as a word in a box. */
export const badge = (method) => el("span", { class: `method ${method}` }, method.toUpperCase());

const WORDS = {
  200: "OK", 304: "Not modified", 400: "Bad request", 403: "Forbidden", 404: "Not found", 405: "Wrong method", 409: "Conflict", 413: "Too large",
  429: "Too much", 500: "Failed", 501: "Not here", 503: "Not now", 504: "Too slow",
};
const statusWords = (status) => (WORDS[status] ? `${status} ${WORDS[status]}` : `${status}`);

function laidOut(text, type, isCut) {
  if (isCut || !type.startsWith("application/json") || text.length > MOST_PRETTY || text.trim().includes("\n")) return text;
  try {
    return pretty(parse(text));
  } catch {
    return text;
  }
}

function problemOf(text) {
  try {
    parse(text);
    return "";
  } catch (error) {
    return `This is no JSON yet: ${error.message}. It can be sent as it is.`;
  }
}
