// What happened when, in steps: those that the server remembers and those that this page has seen
// since. Pure.
//
// A step is {from, to, memory, versions}; from and to are seconds of this page's clock; versions: key
// → {model, version, latency, failures, batches, rows}, where latency and batches are Maps of bound →
// how many values are in that bucket alone, and failures one of code → how many.

import { between } from "./metrics.js";

export const keyOf = ({ model, version }) => JSON.stringify([model, version]);

/**
 * The steps that the server remembers.
 * @param history see docs/metrics.md. @param now this page's clock when it was answered.
 */
export function stepsOfHistory(history, now) {
  const shift = now - history.now;
  return history.steps.map(({ from, to, memory, versions }) => ({
    from: from + shift,
    to: to + shift,
    memory,
    versions: new Map(versions.map(([model, version, latency, failures, batches, rows]) => [
      keyOf({ model, version }),
      { model, version, latency: bucketsOf(latency, history.latency_bounds), failures: new Map(Object.entries(failures)),
        batches: bucketsOf(batches, history.batch_bounds), rows },
    ])),
  }));
}

/** By the bounds as the Prometheus page writes them, so that those of both are the same. */
const bucketsOf = (counts, bounds) =>
  new Map(counts.map((count, i) => [i < bounds.length ? Number(bounds[i].toPrecision(6)) : Infinity, count]));

/** The step between two looks at the metrics; see metrics.js. */
export function stepBetween(before, now) {
  const versions = new Map();
  const fresh = new Map(); // model → code → how many are new at its versions
  for (const [key, mine] of now.versions) {
    const { latency, codes, batches, batchMean } = between(before, now, (each) => each === mine);
    const { model, version } = mine;
    const rows = batchMean === null ? 0 : batchMean * sumOf(batches);
    versions.set(key, { model, version, latency, failures: codes, batches, rows });
    if (version) for (const [code, count] of codes) addTo(inner(fresh, model), code, count);
  }
  for (const step of versions.values()) if (!step.version) step.failures = unseen(step.model, before, now, fresh);
  return { from: before.time, to: now.time, memory: now.memory, versions };
}

/** What failed at a version counts as that of none when the version goes: it is not new then. */
function unseen(model, before, now, fresh) {
  const all = (look) => {
    const found = new Map();
    for (const each of look.versions.values()) {
      if (each.model === model) for (const [code, count] of each.failures) addTo(found, code, count);
    }
    return found;
  };
  const was = all(before);
  const more = [...all(now)].map(([code, count]) =>
    [code, count - (was.get(code) ?? 0) - (fresh.get(model)?.get(code) ?? 0)]);
  return new Map(more.filter(([, count]) => count > 0));
}

function inner(map, key) {
  if (!map.has(key)) map.set(key, new Map());
  return map.get(key);
}

const addTo = (map, key, value) => map.set(key, (map.get(key) ?? 0) + value);
const sumOf = (map) => [...map.values()].reduce((a, b) => a + b, 0);

/**
 * What happened in a window.
 * @param steps in their order. @param wanted takes {model, version}.
 * @returns {{seconds, count, rate, errors, failed, codes, latency, batches, batchMean}} seconds:
 *     how much of the window is known.
 */
export function windowOf(steps, from, to, wanted = () => true) {
  const sum = { seconds: 0, latency: new Map(), batches: new Map(), codes: new Map(), rows: 0 };
  for (const step of steps) {
    const known = Math.min(step.to, to) - Math.max(step.from, from);
    if (known <= 0) continue;
    const share = known / (step.to - step.from);
    sum.seconds += known;
    for (const version of step.versions.values()) if (wanted(version)) addShare(sum, version, share);
  }
  const answered = sumOf(sum.latency);
  const failed = sumOf(sum.codes);
  const batches = sumOf(sum.batches);
  const seconds = Math.max(1e-3, sum.seconds);
  return {
    ...sum, failed, count: answered + failed, rate: (answered + failed) / seconds,
    errors: failed / seconds, batchMean: batches ? sum.rows / batches : null,
  };
}

function addShare(sum, version, share) {
  for (const [bound, count] of version.latency) addTo(sum.latency, bound, count * share);
  for (const [bound, count] of version.batches) addTo(sum.batches, bound, count * share);
  for (const [code, count] of version.failures) addTo(sum.codes, code, count * share);
  sum.rows += version.rows * share;
}

/** Drops what is older than a time, and joins what is not recent in pairs, so that they stay few. */
export function thinned(steps, oldest, recent, longest) {
  const kept = [];
  for (const step of steps) {
    if (step.to <= oldest) continue;
    const last = kept.at(-1);
    if (last && step.to < recent && step.from === last.to && step.to - last.from <= longest) kept[kept.length - 1] = joined(last, step);
    else kept.push(step);
  }
  return kept;
}

function joined(one, other) {
  const versions = new Map(one.versions);
  for (const [key, more] of other.versions) {
    const had = versions.get(key);
    versions.set(key, had ? {
      ...more, latency: summed(had.latency, more.latency), failures: summed(had.failures, more.failures),
      batches: summed(had.batches, more.batches), rows: had.rows + more.rows,
    } : more);
  }
  return { from: one.from, to: other.to, memory: other.memory ?? one.memory, versions };
}

function summed(one, other) {
  const sum = new Map(one);
  for (const [key, value] of other) addTo(sum, key, value);
  return sum;
}

/** Requests and errors by model, over some steps, added to what was. */
export function addTotals(totals, step) {
  for (const { model, latency, failures } of step.versions.values()) {
    const failed = sumOf(failures);
    const had = totals.get(model) ?? [0, 0];
    if (failed || sumOf(latency)) totals.set(model, [had[0] + sumOf(latency) + failed, had[1] + failed]);
  }
}
