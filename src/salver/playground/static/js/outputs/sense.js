// What an output's values mean, as the model says: which view suits, single scores as two classes,
// numbers of classes as their names. Pure.

import { areProbabilities, isNumber, viewsOf } from "../results.js";

/**
 * The ways to show a row, the best first; see `viewsOf`.
 * @param said what the model says of the output.
 */
export function viewsFor(row, labels, said = {}) {
  const natural = viewsOf(row, labels);
  const first = {
    classes: isScore(row) || isClassNumber(row, labels, said) || natural.includes("classes") ? ["classes"] : [],
    number: ["number"], image: ["picture"], text: ["text"],
  }[said.kind] ?? [];
  return [...new Set([...first.filter((view) => natural.includes(view) || view === "classes"), ...natural])];
}

const single = (row) => (Array.isArray(row) ? (row.length === 1 ? row[0] : null) : row);

/** Whether a row is one score of two classes. */
export function isScore(row) {
  const value = single(row);
  return typeof value === "number" && value >= -1e-6 && value <= 1 + 1e-6;
}

/** Whether a row is the number of a class. */
export function isClassNumber(row, labels, said) {
  const value = single(row);
  return said.kind === "classes" && isNumber(value) && Number.isInteger(Number(value))
    && (labels?.length > 2 || said.labels?.length > 2);
}

/**
 * A row as scores of classes.
 * @returns {{row, labels, chosen?}} chosen: the number of the class that the row names itself.
 */
export function asClasses(row, labels, said = {}) {
  if (isClassNumber(row, labels, said)) return { row: [], labels, chosen: Number(single(row)) };
  if (said.kind !== "classes" || !isScore(row)) return { row, labels };
  const score = Number(single(row));
  const names = labels?.length === 2 ? labels : labels?.length === 1 ? [`not ${labels[0]}`, labels[0]] : ["no", "yes"];
  return { row: [1 - score, score], labels: names };
}

/**
 * What a threshold makes of scores: the classes that reach it.
 * @param classes see `classesOf`, best first.
 * @returns {{words, found: Set}|null} null without a threshold.
 */
export function verdictOf(classes, { threshold }, isPair) {
  if (threshold === undefined) return null;
  const percent = `${Number((threshold * 100).toPrecision(3))} %`;
  if (isPair) {
    const second = classes.find(({ index }) => index === 1);
    const chosen = second.score >= threshold ? second : classes.find(({ index }) => index === 0);
    return { words: `${chosen.label}, at a threshold of ${percent}`, found: new Set([chosen.index]) };
  }
  const found = classes.filter(({ score }) => score >= threshold);
  const words = found.length ? `${found.map(({ label }) => label).slice(0, 8).join(", ")}, at ${percent} or more` : `None reaches ${percent}`;
  return { words, found: new Set(found.map(({ index }) => index)) };
}

/** Why a row is shown as it is, where that was guessed; empty where it was not. */
export function guessText(row, labels, said, view) {
  if (said.kind || labels || view !== "classes" || !Array.isArray(row) || !row.every(isNumber)) return "";
  return areProbabilities(row) ? "Taken for classes, because the values add up to 1." : "";
}
