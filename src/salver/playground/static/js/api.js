// The calls of the REST API, and the two of the playground's own. Addresses are relative to the
// page's origin, so that a proxy may stand in front.

import { withKey } from "./credentials.js";
import { parse } from "./json.js";

const PATIENCE_MS = 10000; // for what the server answers at once when it is well
const LOAD_MS = 60000; // for what may have to be loaded first

/** What went wrong, in the server's words where it had some. */
export class CallError extends Error {
  constructor(message, { hint = "", status = 0, isLost = false } = {}) {
    super(message);
    this.hint = hint;
    this.status = status;
    this.isLost = isLost; // nobody was reached
  }
}

/**
 * The path of a model, or of one version of it.
 * @param which {kind: "newest"} | {kind: "version", version} | {kind: "label", label}
 */
export function modelPath(name, which = { kind: "newest" }) {
  const base = `/v1/models/${encodeURIComponent(name)}`;
  if (which.kind === "version") return `${base}/versions/${which.version}`;
  if (which.kind === "label") return `${base}/labels/${encodeURIComponent(which.label)}`;
  return base;
}

/** All models with their versions and labels, and after them those that only other servers have,
 * with their `nodes`. A server that hangs counts as one that is gone. */
export async function listModels() {
  const { models, elsewhere = [] } = await getJson("/v1/models");
  return [...models, ...elsewhere];
}

/** A model with its versions, also where it is elsewhere and nobody here knows which it has. */
export async function withVersions(model) {
  if (!model?.nodes || model.model_version_status.length) return model;
  try {
    return { ...model, ...(await getJson(modelPath(model.name))) };
  } catch {
    return model; // asked again at the next look
  }
}

export const metadata = (name, which) => getJson(`${modelPath(name, which)}/metadata`, LOAD_MS);
export const about = () => getJson("/playground/about");

/** The names of a version's classes: {labels: [...]|null, error?}. */
export function labels(name, version) {
  const query = new URLSearchParams({ model: name, version });
  return getJson(`/playground/labels?${query}`);
}

/** What a version says of itself: {about: {…}|null, warnings, error?, labels_come_first,
 * optional?: signature → names of the inputs that a request may leave out}. */
export function description(name, version) {
  return getJson(`/playground/description?${new URLSearchParams({ model: name, version })}`);
}

/** A file that an example of a version names, as a Blob. */
export async function exampleFile(name, version, file) {
  const query = new URLSearchParams({ model: name, version, file });
  const response = await answered(`/playground/example?${query}`, { signal: AbortSignal.timeout(LOAD_MS) });
  if (!response.ok) throw refusal(response, await response.text());
  return response.blob();
}

/** What the server remembers of the time before; null where it remembers nothing. */
export async function history() {
  try {
    return await getJson("/admin/v1/history");
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** The last slow requests, the newest first; null where the server keeps none. */
export async function slowRequests() {
  try {
    const told = await getJson("/admin/v1/slow_requests");
    return told.slow_request_ms > 0 ? told : null;
  } catch (error) {
    if (error.status >= 400 && error.status < 500) return null;
    throw error;
  }
}

/** The Prometheus page as text. */
export async function metricsText(path) {
  const { response, text } = await request(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new CallError("no metrics", { status: response.status });
  return text;
}

/** What is at a path, as JSON. */
export async function getJson(path, patience = PATIENCE_MS) {
  const { response, text } = await request(path, { signal: AbortSignal.timeout(patience) });
  if (!response.ok) throw refusal(response, text);
  return parse(text);
}

/** The answer and all of its text: a server can go in the middle of it, too. */
async function request(path, options) {
  const response = await answered(path, options);
  try {
    return { response, text: await response.text() };
  } catch (error) {
    throw lost(error);
  }
}

async function answered(path, options) {
  try {
    return await fetch(path, { cache: "no-store", ...options, headers: withKey(options.headers) });
  } catch (error) {
    throw lost(error);
  }
}

function lost(error) {
  if (error.name === "AbortError") return error;
  return new CallError("The server does not answer.", { hint: "Is it still running?", isLost: true });
}

function refusal(response, text) {
  let page = {};
  try {
    page = parse(text);
  } catch {
    // A proxy's page, say; its status has to do.
  }
  const message = typeof page.error === "string" ? page.error : `HTTP ${response.status}`;
  return new CallError(message, { hint: page.hint ?? "", status: response.status });
}

/**
 * Asks a model.
 * @param call "predict", "classify" or "regress".
 * @param body the request as JSON text.
 * @returns {{value, text, ms, version, bytes}} the answer, its latency, and which version gave it.
 */
export async function infer(name, which, call, body, signal) {
  const begun = performance.now();
  const { response, text } = await request(`${modelPath(name, which)}:${call}`, {
    method: "POST",
    body,
    signal,
    headers: { "Content-Type": "application/json" },
  });
  const ms = performance.now() - begun;
  if (!response.ok) throw refusal(response, text);
  const version = response.headers.get("salver-model-version") ?? "";
  return { value: parse(text), text, ms, version, bytes: text.length };
}
