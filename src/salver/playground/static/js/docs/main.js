// The page of the API: pick a model and an operation, and try it. Made of /openapi.json.

import { about, getJson, listModels } from "../api.js";
import { connection } from "../connection.js";
import { key } from "../credentials.js";
import { choice, el, field, fill, jointed } from "../dom.js";
import { availableVersions } from "../states.js";
import { recall, remember } from "../store.js";
import { themeButton } from "../theme.js";
import { byTag, operationsOf } from "./document.js";
import { badge, operationPanel } from "./operation_panel.js";

const LOAD_MS = 60000; // of many models it takes a while
const main = document.getElementById("main");
const side = document.getElementById("side");
const line = connection(document.getElementById("notice"), () => start());
let models = [];
let current = null; // {model, api, operations}
let panel = null;
let isFirst = true;
let asking = null; // who is there

/** Where OpenAPI's document of the server and one model is; of the server alone where none is named. */
const documentPath = (model) => `/openapi.json${model === null ? "" : `?${new URLSearchParams({ model })}`}`;
const addressOf = (model, id) => `#/${encodeURIComponent(model ?? "")}/${encodeURIComponent(id ?? "")}`;

function readAddress() {
  try {
    const [, model, id] = location.hash.split("/").map(decodeURIComponent);
    return { model: model || null, id: id || null };
  } catch {
    return { model: null, id: null };
  }
}

async function show() {
  const asked = readAddress();
  const name = known(asked.model) ?? known(recall("docs:model")) ?? models[0]?.name ?? null;
  if (current === null || current.model !== name) {
    const api = await getJson(documentPath(name), LOAD_MS);
    if (name !== (known(readAddress().model) ?? name)) return; // something else was chosen meanwhile
    current = { model: name, api, operations: operationsOf(api) };
    drawSide();
  }
  const operation = current.operations.find(({ id }) => id === asked.id) ?? best(asked.id);
  for (const link of side.querySelectorAll("a")) {
    const isHere = link.dataset.operation === operation.id;
    link.toggleAttribute("aria-current", isHere);
    if (isHere) link.setAttribute("aria-current", "page");
  }
  panel?.leave();
  panel = operationPanel({ document: current.api, operation, ...knownValues() });
  fill(main, panel.element);
  document.title = `${operation.about.summary ?? operation.path} · Salver`;
  if (!isFirst) goTo(panel.element.querySelector("h1"));
  isFirst = false;
}

/** Whoever follows a link goes on reading at the top of what it led to. */
function goTo(heading) {
  heading.focus({ preventScroll: true });
  if (!isNarrow()) {
    window.scrollTo({ top: 0 });
    return;
  }
  side.querySelector(".operations").open = false; // they stand above it there
  heading.scrollIntoView({ block: "start" });
}

const isNarrow = () => matchMedia("(max-width: 56rem)").matches;
const known = (name) => (models.some((model) => model.name === name) ? name : null);

/** The same call of another model, if there is one; else the one that a person most likely wants. */
function best(id) {
  const family = id?.split(".")[0];
  const { operations } = current;
  return operations.find((each) => family && each.family === family)
    ?? operations.find(({ isOfModel }) => isOfModel) ?? operations[0];
}

function knownValues() {
  const model = models.find(({ name }) => name === current.model);
  if (!model) return { values: new Map(), offers: new Map() };
  const versions = availableVersions(model);
  const labels = Object.keys(model.version_labels ?? {}).sort();
  const values = new Map([["name", model.name]]);
  if (versions.length) values.set("version", versions[0]);
  if (labels.length) values.set("label", labels[0]);
  return { values, offers: new Map([["version", versions], ["label", labels]]) };
}

function drawSide() {
  const names = models.map(({ name }) => [name, name]);
  const pick = names.length
    ? field("Model", choice(names, current.model, (name) => {
      remember("docs:model", name);
      const { id } = readAddress();
      location.hash = addressOf(name, id?.split(".")[0]);
    }, { "aria-controls": "main" }))
    : el("p", { class: "hint" }, "This server has no models yet.");
  const groups = byTag(current.api, current.operations).map(([tag, operations]) => el("section", {},
    el("h2", {}, tag), ...lists(operations)));
  const list = el("details", { class: "operations", open: !isNarrow() }, el("summary", {}, "Operations"), groups);
  fill(side, el("nav", { class: "sidebar api", "aria-label": "Operations" }, pick, list,
    el("p", { class: "hint" }, el("a", { href: documentPath(current.model) }, "openapi.json"))));
}

function lists(operations) {
  const often = operations.filter(({ isRare }) => !isRare);
  const rare = operations.filter(({ isRare }) => isRare);
  return [
    el("ul", {}, often.map(entry)),
    rare.length ? el("details", {}, el("summary", {}, `${rare.length} more`), el("ul", {}, rare.map(entry))) : null,
  ];
}

function entry({ id, method, path, about: { summary } }) {
  return el("li", {}, el("a", { href: addressOf(current.model, id), "data-operation": id },
    badge(method), el("span", { class: "words", dir: "auto" }, summary ?? path), el("code", {}, jointed(path))));
}

async function start() {
  try {
    models = await listModels();
    line.found();
    asking = null;
    current = null;
    if (key()) (await import("../sign_in.js")).showSignOut(start);
    showVersion();
    await show();
  } catch (error) {
    if (error.status === 401) {
      await askWho(error);
      return;
    }
    line.lost(error);
    fill(main, el("p", { class: "placeholder" }, "The API cannot be shown now."));
  }
}

async function askWho(error) {
  const wasTried = key() !== "";
  const { signIn, showSignOut } = await import("../sign_in.js");
  line.found();
  panel?.leave();
  panel = null;
  if (asking === null) {
    asking = signIn(start);
    fill(side);
    fill(main, asking.element);
  }
  if (wasTried) asking.refused(error.message);
  showSignOut(start);
}

function showVersion() {
  about().then(({ version }) => fill(document.getElementById("server-version"), version)).catch(() => {});
}

themeButton(document.getElementById("theme"));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment says what is shown
  main.focus();
});
window.addEventListener("hashchange", () => (asking ? null : show().catch((error) => line.lost(error))));
start();
