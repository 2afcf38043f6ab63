// The page as a whole: which part is shown, and what the server says every two seconds.

import { about, listModels, withVersions } from "./api.js";
import { connection } from "./connection.js";
import { key } from "./credentials.js";
import { dashboard } from "./dashboard.js";
import { el, fill } from "./dom.js";
import { modelAddress, readAddress } from "./link.js";
import { modelPage } from "./model_page.js";
import { sidebar } from "./sidebar.js";
import { themeButton } from "./theme.js";

const POLL_MS = 2000;

const main = document.getElementById("main");
const models = sidebar();
const line = connection(document.getElementById("notice"), () => poll());
let page = null; // {address, element, update(model)?, poll(models)?, renew()?, put(query)?: whether it could}
let server = { version: "", grpc_port: 0, metrics_path: "", has_open_inference: false };
let known = [];
let followed = ""; // the link whose input is shown
let timer = 0;

async function show() {
  const { model: name, dashboard: isDashboard, query } = readAddress(location.hash);
  for (const link of document.querySelectorAll("[data-page]")) {
    const isCurrent = (link.dataset.page === "dashboard") === Boolean(isDashboard);
    link.toggleAttribute("aria-current", isCurrent);
  }
  if (isDashboard) await open("dashboard", () => dashboard({ metricsPath: server.metrics_path }));
  else {
    const model = known.find((each) => each.name === name) ?? (name === undefined ? known[0] : undefined);
    if (model) await open(`model ${model.name}`, () => modelPage({ name: model.name, grpcTarget: grpcTarget(), hasOpenInference: server.has_open_inference }));
    else await open("nothing", nothing);
  }
  models.show(known, page.name);
  const link = `${page.address}?${query}`;
  if (query && page.put && link !== followed && (await page.put(query))) followed = link; // once
}

async function open(address, make) {
  if (page?.address !== address) {
    const isFirst = page === null;
    page = { address, name: address.startsWith("model ") ? address.slice(6) : null, ...make() };
    fill(main, page.element);
    // Whoever follows a link goes on reading at the top of what it led to.
    if (!isFirst) page.element.querySelector("h1")?.focus({ preventScroll: true });
    document.title = page.name ? `${page.name} · Salver` : "Salver";
  }
  if (page.poll) await page.poll(known.filter(({ nodes }) => !nodes)); // of others nothing is counted here
  if (page.update) await page.update(await withVersions(known.find(({ name }) => name === page.name)));
}

function nothing() {
  const words = known.length ? "There is no such model here." : "This server has no models yet.";
  const hint = known.length ? el("a", { href: modelAddress(known[0].name) }, `Show ${known[0].name}`) : "They appear here as soon as there are some.";
  return { element: el("div", { class: "card placeholder" }, el("p", {}, words), el("p", {}, hint)) };
}

const grpcTarget = () => (server.grpc_port ? `${location.hostname}:${server.grpc_port}` : "");

async function poll() {
  clearTimeout(timer);
  try {
    known = await listModels();
    models.element.hidden = false;
    line.found();
    await show();
  } catch (error) {
    if (error.status === 401) {
      await askWho(error);
      return;
    }
    page?.renew?.(); // what comes back may be another server
    line.lost(error);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(poll, POLL_MS);
}

/** The server asks for a key, or takes the one no more. */
async function askWho(error) {
  const wasTried = key() !== "";
  known = [];
  line.found();
  models.element.hidden = true; // nobody knows of any
  const { signIn, showSignOut } = await import("./sign_in.js");
  await open("sign in", () => signIn(enter));
  if (wasTried) page.refused(error.message);
  showSignOut(enter);
}

async function enter() {
  if (key()) (await import("./sign_in.js")).showSignOut(enter);
  try {
    server = await about();
    fill(document.getElementById("server-version"), server.version);
  } catch {
    // Without it the examples leave gRPC out.
  }
  await poll();
}

async function start() {
  themeButton(document.getElementById("theme"));
  document.getElementById("side").append(models.element);
  window.addEventListener("hashchange", () => (page?.refused ? null : show()));
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
  window.addEventListener("online", poll);
  await enter();
}

start();
