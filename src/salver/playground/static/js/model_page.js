// The page of one model: which version and signature, its input, its answer, the request.

import { CallError, infer, metadata } from "./api.js";
import { choice, el, field, fill, jointed } from "./dom.js";
import { inputPanel } from "./input_panel.js";
import { descriptionBook, labelBook } from "./labels.js";
import { inputOf, linkTo } from "./link.js";
import { describe } from "./meaning.js";
import { requestPanel } from "./request_panel.js";
import { errorBox, resultPanel } from "./result_panel.js";
import { runsPanel } from "./runs_panel.js";
import { summary } from "./outputs/output.js";
import { outputsOf } from "./results.js";
import { readMetadata } from "./shapes.js";
import { signaturePanel } from "./signature_panel.js";
import { availableVersions, labelsOf, modelState, versionOf, versionState } from "./states.js";
import { recall, remember } from "./store.js";

const NEWEST = { kind: "newest" };

/** @param ask {name, grpcTarget, hasOpenInference} @returns {{element, update(model), renew(), put(query)}} */
export function modelPage({ name, grpcTarget, hasOpenInference }) {
  const descriptions = descriptionBook(name);
  const labels = labelBook(name, descriptions, () => result.redraw());
  const result = resultPanel({ labels });
  const request = requestPanel();
  const signatures = signaturePanel();
  const runs = runsPanel({ model: name, use: useAgain });
  const lead = el("div", { class: "lead" });
  const state = el("p", { class: "state large" });
  const controls = el("div", { class: "controls" });
  const inputPlace = el("div");
  const problem = el("div", { class: "problem" });
  const work = el("div", { class: "work" }, inputPlace, result.element);
  const element = el(
    "article", { class: "model-page" },
    el("header", { class: "title" }, el("h1", { dir: "auto", tabindex: -1 }, jointed(name)), state, lead),
    problem, controls, work, runs.element, request.element, signatures.element,
  );

  let model = null;
  let which = NEWEST;
  let other = ""; // the version to compare with; none when empty
  let known = null; // what the metadata say, of which version
  let signature = null;
  let input = null;
  let asking = null; // the request on its way
  let learning = 0; // which question for metadata is the last
  let lastVersion = ""; // the one that was last shown
  let isStale = false; // whether what is known may be that of another server

  /** Takes what the server says of the model now. */
  async function update(next) {
    const before = model && JSON.stringify(model);
    model = next;
    if (JSON.stringify(model) === before && !isStale) return;
    if (isStale) {
      isStale = false;
      known = null;
      labels.forget();
      descriptions.forget();
    }
    const { words, tone } = modelState(model);
    fill(state, el("i", { class: `dot ${tone}`, "aria-hidden": "true" }), words);
    await refresh();
  }

  async function refresh() {
    const version = versionOf(model, which);
    if (version === null && which.kind !== "newest") {
      which = NEWEST; // the chosen version has gone
      await refresh();
      return;
    }
    if (other && !availableVersions(model).includes(other)) other = "";
    if (version === null) showUnavailable();
    else if (known?.version !== version) await learn();
    drawControls();
    signatures.show(model, signature);
  }

  function showUnavailable() {
    asking?.abort();
    result.empty();
    known = signature = input = null;
    fill(lead);
    work.hidden = request.element.hidden = true;
    const bad = model.model_version_status.find((version) => version.status.error_message);
    const late = model.model_version_status.find((version) => version.hint);
    const nothing = late ? `Version ${late.version} is ${late.hint}.` : "No version of this model is available yet.";
    const message = bad ? versionState(bad).message : model.error ?? nothing;
    const waits = model.error ? "No version can be looked for." : "This page shows it as soon as there is one.";
    const hint = bad ? `Version ${bad.version} does not load.` : waits;
    fill(problem, errorBox({ error: new CallError(message, { hint }) }));
  }

  async function learn() {
    learning += 1;
    const mine = learning;
    let read;
    try {
      read = readMetadata(await metadata(name, which));
      const { about, warnings, error, optional } = await descriptions.load(read.version);
      read = { ...read, title: about?.title ?? "", description: about?.description ?? "", warnings, error,
        signatures: read.signatures.map((each) => describe(each, about?.signatures?.[each.name] ?? null, optional?.[each.name])) };
    } catch (error) {
      if (mine !== learning) return;
      known = null;
      isStale = true; // asked for again at the next look at the server
      const box = errorBox({ error });
      if (problem.textContent !== box.textContent) fill(problem, box); // read out once
      return;
    }
    if (mine !== learning) return; // something else was chosen meanwhile
    const wasVersion = known?.version ?? lastVersion;
    known = read;
    lastVersion = known.version;
    fill(problem);
    drawLead();
    work.hidden = request.element.hidden = false;
    labels.load(known.version);
    const kept = recall(`signature:${name}`);
    const next = known.signatures.find(({ name: of }) => of === kept) ?? known.signatures[0];
    const isOther = JSON.stringify(next) !== JSON.stringify(signature);
    signature = next;
    if (isOther) rebuild(); // a new version with the same signature keeps what was typed
    else {
      input?.tell();
      const isNews = wasVersion && wasVersion !== known.version && which.kind === "newest";
      if (isNews && input?.isLive() && result.hasAnswer()) input.run(true); // what does it say of the same?
    }
  }

  function drawLead() {
    const { title, description, error, warnings } = known;
    const plain = (words) => words.toLowerCase().replaceAll(/[_-]/g, " ");
    const isTold = title && plain(title) !== plain(name);
    fill(lead, isTold ? el("strong", { dir: "auto" }, title) : null,
      description ? el("p", { dir: "auto" }, description) : null,
      error ? el("p", { class: "advice bad", dir: "auto" }, `What it says of itself cannot be used. ${error}`) : null,
      warnings?.length ? el("p", { class: "hint", dir: "auto" }, `salver.json: ${warnings.join("; ")}`) : null);
  }

  function rebuild() {
    asking?.abort();
    result.empty();
    request.showNothing();
    if (!signature) return;
    input = inputPanel({
      key: `${name}:${signature.name}`,
      model: name,
      version: () => known.version,
      signature,
      send,
      changed: showRequest,
      refuse: (error) => result.show(signature, [{ name: "", error }]),
      link,
    });
    fill(inputPlace, input.element);
    input.tell();
  }

  function showRequest(body) {
    if (body === null) request.showNothing();
    else request.show({ origin: location.origin, grpcTarget, hasOpenInference, model: name, which, signature, body });
  }

  /** An address that leads here, with this input. */
  async function link(text) {
    const fragment = await linkTo(name, { signature: signature.name, which, body: text });
    return `${location.href.split("#")[0]}${fragment}`;
  }

  /** Shows the input of a link; whoever made it, it is for the person here to run it. */
  async function put(query) {
    if (!signature) return false; // not yet
    try {
      const asked = await inputOf(query);
      if (asked === null) return true;
      if (asked.version) which = { kind: "version", version: asked.version };
      if (asked.label) which = { kind: "label", label: asked.label };
      if (asked.version || asked.label) await refresh();
      choose(asked.signature);
      input?.put(asked.body, "This input came with the link. Press Run.");
    } catch (error) {
      result.show(signature, [{ name: "", error }]);
    }
    return true;
  }

  function useAgain(run) {
    choose(run.signature);
    input?.put(run.body);
    input?.run();
    work.scrollIntoView({ block: "start" });
  }

  function choose(wanted) {
    const next = known?.signatures.find(({ name: of }) => of === wanted);
    if (!next || next === signature) return;
    signature = next;
    rebuild();
    drawControls();
    signatures.show(model, signature);
  }

  async function send(text, { isQuiet = false, thumbnails = [] } = {}) {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    const of = signature;
    result.busy(() => {
      mine.abort();
      result.idle();
    });
    const targets = other ? [which, { kind: "version", version: other }] : [which];
    const answers = [];
    try {
      // One after the other, so that neither slows the other down.
      for (const target of targets) answers.push(await ask(target, text, mine.signal));
    } catch (error) {
      if (error.name === "AbortError") return; // given up, or a newer request has taken over
      throw error;
    }
    if (mine.signal.aborted) return;
    result.show(of, answers, thumbnails);
    const [first] = answers;
    const [output] = first.error ? [] : outputsOf(of, first.value);
    const words = output?.rows.length
      ? output.rows.slice(0, 4).map((row) => summary(row, labels.of(first.version, of.name, output.name), output.spec?.said)).join(", ")
      : first.error?.message ?? "";
    runs.add({ signature: of.name, version: first.version ?? "", body: text, words, ms: first.ms ?? 0, isError: Boolean(first.error) }, isQuiet);
  }

  async function ask(target, text, signal) {
    const words = target.kind === "version" ? `Version ${target.version}` : target.kind === "label" ? `Label ${target.label}` : "Newest version";
    try {
      const answer = { name: words, ...(await infer(name, target, signature.call, text, signal)) };
      await labels.load(answer.version);
      return answer;
    } catch (error) {
      if (error instanceof CallError) return { name: words, error };
      if (error.name === "AbortError") throw error;
      return { name: words, error: new CallError(`The answer cannot be read: ${error.message}`) };
    }
  }

  function drawControls() {
    const focused = document.activeElement?.dataset?.control;
    const versions = availableVersions(model);
    const newest = versions[0];
    const offers = [["newest", newest ? `Newest (${newest})` : "Newest"],
      ...Object.entries(model.version_labels ?? {}).sort().map(([label, version]) => [`label:${label}`, `${label} (${version})`]),
      ...versions.map((version) => [`version:${version}`, versionWords(version)])];
    const current = versionOf(model, which);
    const others = versions.filter((version) => version !== current);
    fill(
      controls,
      versions.length ? field("Version", choice(offers, chosen(which), (value) => {
        which = readWhich(value);
        refresh().then(() => input?.run(true));
      }, { "data-control": "version" })) : null,
      known && known.signatures.length > 1 ? field("Signature", choice(
        known.signatures.map(({ name: of }) => [of, of]), signature.name, (value) => {
          remember(`signature:${name}`, value);
          signature = known.signatures.find(({ name: of }) => of === value);
          rebuild();
          signatures.show(model, signature);
        }, { "data-control": "signature" },
      )) : null,
      others.length ? field("Compare with", choice(
        [["", "Nothing"], ...others.map((version) => [version, versionWords(version)])], other, (value) => {
          other = value;
          input?.run(true);
        }, { "data-control": "compare" },
      )) : null,
    );
    controls.hidden = controls.children.length === 0;
    if (focused) controls.querySelector(`[data-control="${focused}"]`)?.focus();
  }

  function versionWords(version) {
    const own = labelsOf(model, version);
    return own.length ? `Version ${version}, ${own.join(", ")}` : `Version ${version}`;
  }

  return { element, update, put, renew: () => { isStale = true; } };
}

const chosen = (which) => (which.kind === "newest" ? "newest" : `${which.kind}:${which[which.kind]}`);

function readWhich(value) {
  const [kind] = value.split(":", 1);
  if (kind === "newest") return NEWEST;
  return { kind, [kind]: value.slice(kind.length + 1) };
}
