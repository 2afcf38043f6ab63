// Models as the server lists them: what their versions are doing, in words. Pure.

const WORDS = {
  START: "waiting", LOADING: "loading", AVAILABLE: "available", UNLOADING: "unloading", END: "ended",
};

/** One version's state: {word, tone, message}; tone is "good", "busy", "bad" or "quiet". */
export function versionState({ state, status }) {
  const message = status.error_message;
  if (state === "END" && message) return { word: "failed", tone: "bad", message };
  const tone = { AVAILABLE: "good", END: "quiet" }[state] ?? (message ? "bad" : "busy");
  return { word: WORDS[state] ?? state.toLowerCase(), tone, message };
}

export const isAvailable = (version) => version.state === "AVAILABLE";

/** The versions that answer, newest first. */
export const availableVersions = (model) =>
  model.model_version_status.filter(isAvailable).map(({ version }) => version);

/** A model in a few words: {words, tone}; of one that is elsewhere they say where. */
export function modelState(model) {
  const { words, tone } = versionsState(model);
  if (!model.nodes) return { words, tone };
  const where = model.nodes.length > 2 ? `at ${model.nodes.length} servers` : `at ${model.nodes.join(" and ")}`;
  return { words: model.model_version_status.length ? `${words}, ${where}` : where, tone };
}

function versionsState(model) {
  const versions = model.model_version_status;
  const ready = availableVersions(model);
  if (ready.length === 1) return { words: `version ${ready[0]}`, tone: "good" };
  if (ready.length > 3) return { words: `${ready.length} versions, newest ${ready[0]}`, tone: "good" };
  if (ready.length > 1) return { words: `versions ${ready.join(", ")}`, tone: "good" };
  if (versions.length === 0) return { words: "no versions on disk", tone: "quiet" };
  const { word, tone } = versionState(versions[0]);
  return { words: word, tone };
}

/** Labels of a version, in the alphabet's order. */
export const labelsOf = (model, version) =>
  Object.entries(model.version_labels ?? {})
    .filter(([, of]) => String(of) === String(version))
    .map(([label]) => label)
    .sort();

/** The version that `which` means now; null where none answers. */
export function versionOf(model, which) {
  const ready = availableVersions(model);
  if (which.kind === "newest") return ready[0] ?? null;
  const wanted = which.kind === "label" ? model.version_labels?.[which.label] : which.version;
  return ready.includes(String(wanted)) ? String(wanted) : null;
}
