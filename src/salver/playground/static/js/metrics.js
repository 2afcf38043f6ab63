// The Prometheus page → what the dashboard shows. Pure.

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { "\\n": "\n", "\\\\": "\\", '\\"': '"' };

/** The samples of a page that begin with `salver_`: [name, labels, value]. */
export function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith("salver_")) continue;
    const found = LINE.exec(line);
    if (found) samples.push([found[1], labelsOf(found[2] ?? ""), numberOf(found[3])]);
  }
  return samples;
}

function labelsOf(text) {
  return Object.fromEntries(
    [...text.matchAll(LABEL)].map(([, name, value]) => [
      name, value.replace(/\\[n\\"]/g, (pair) => ESCAPED[pair]),
    ]),
  );
}

const numberOf = (text) => (text === "+Inf" || text === "Inf" ? Infinity : Number(text));

/**
 * One look at the server.
 * @returns {{time, versions: Map, memory, cpu, versionMemory: boolean}} versions: key → counts.
 */
export function snapshot(text, time) {
  const look = { time, versions: new Map(), memory: null, cpu: null };
  for (const [name, labels, value] of parseMetrics(text)) take(look, name, labels, value);
  return look;
}

const histograms = {
  salver_request_seconds: "latency",
  salver_batch_rows: "batches",
};

function take(look, name, labels, value) {
  if (name === "salver_process_resident_memory_bytes") look.memory = value;
  if (name === "salver_process_cpu_seconds_total") look.cpu = value;
  if (labels.model_name === undefined) return;
  const part = /_(bucket|sum|count)$/.exec(name);
  const kind = part && histograms[name.slice(0, part.index)];
  if (kind) {
    const into = of(look, labels)[kind];
    if (part[1] === "bucket") {
      const bound = numberOf(labels.le);
      into.buckets.set(bound, (into.buckets.get(bound) ?? 0) + value);
    } else into[part[1]] += value;
  } else if (name === "salver_failed_requests_total") {
    const { failures } = of(look, labels);
    failures.set(labels.code, (failures.get(labels.code) ?? 0) + value);
  } else if (name === "salver_in_flight_requests") of(look, labels).inFlight += value;
  else if (name === "salver_reserved_memory_bytes") of(look, labels).memory = value;
}

const empty = () => ({ buckets: new Map(), sum: 0, count: 0 });

function of(look, { model_name: model, version = "" }) {
  const key = JSON.stringify([model, version]);
  if (!look.versions.has(key)) {
    look.versions.set(key, {
      model, version, latency: empty(), batches: empty(), failures: new Map(), inFlight: 0, memory: null,
    });
  }
  return look.versions.get(key);
}

/**
 * What happened between two looks, for the versions that `wanted` takes.
 * @returns {{rate, errors, codes: Map, latency: Map, batches: Map, batchMean, inFlight}} rates per
 *     second; latency and batches: bound → how many values are in that bucket alone.
 */
export function between(earlier, later, wanted = () => true) {
  const seconds = Math.max(1e-3, later.time - earlier.time);
  const sum = { count: 0, codes: new Map(), latency: new Map(), batches: new Map(), inFlight: 0 };
  let rows = 0;
  let batchCount = 0;
  for (const [key, now] of later.versions) {
    if (!wanted(now)) continue;
    const before = earlier.versions.get(key);
    sum.count += gain(before?.latency.count, now.latency.count);
    add(sum.latency, before?.latency.buckets, now.latency.buckets);
    add(sum.batches, before?.batches.buckets, now.batches.buckets);
    rows += gain(before?.batches.sum, now.batches.sum);
    batchCount += gain(before?.batches.count, now.batches.count);
    sum.inFlight += now.inFlight;
    for (const [code, value] of now.failures) {
      const more = gain(before?.failures.get(code), value);
      if (more) sum.codes.set(code, (sum.codes.get(code) ?? 0) + more);
    }
  }
  const failed = [...sum.codes.values()].reduce((a, b) => a + b, 0);
  return {
    rate: (sum.count + failed) / seconds,
    errors: failed / seconds,
    codes: sum.codes,
    latency: sum.latency,
    batches: sum.batches,
    batchMean: batchCount ? rows / batchCount : null,
    inFlight: sum.inFlight,
  };
}

// A version that was loaded again counts from nothing.
const gain = (before = 0, now) => (now < before ? now : now - before);

function add(into, before, now) {
  const bounds = [...now.keys()].sort((a, b) => a - b);
  let below = 0;
  for (const bound of bounds) {
    const upTo = gain(before?.get(bound), now.get(bound));
    into.set(bound, (into.get(bound) ?? 0) + Math.max(0, upTo - below));
    below = upTo;
  }
}

/** The value below which a share of the values lie, as well as buckets can tell; null without any. */
export function percentile(buckets, share) {
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const total = [...buckets.values()].reduce((a, b) => a + b, 0);
  if (total === 0) return null;
  let left = share * total;
  let low = 0;
  for (const bound of bounds) {
    const here = buckets.get(bound);
    if (here > 0 && left <= here) return bound === Infinity ? low : low + (bound - low) * (left / here);
    left -= here;
    if (bound !== Infinity) low = bound;
  }
  return low;
}
