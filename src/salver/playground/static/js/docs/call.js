// Sends a call and reads its answer as it comes: an answer of events may take its time.

import { CallError } from "../api.js";
import { withKey } from "../credentials.js";

const MOST_SHOWN = 200_000; // characters; more would make the page slow

/**
 * @param ask {method, target, body, signal}; body is text or null.
 * @param progress called with the answer so far.
 * @returns {{status, ok, ms, bytes, text, isCut, version, type}}. Throws CallError where nobody is reached,
 *     AbortError where it was given up.
 */
export async function send({ method, target, body, signal }, progress) {
  const begun = performance.now();
  const headers = withKey(body === null ? {} : { "Content-Type": "application/json" });
  try {
    const response = await fetch(target, { method: method.toUpperCase(), body, headers, signal, cache: "no-store" });
    const answer = {
      status: response.status, ok: response.ok, ms: 0, bytes: 0, text: "", isCut: false,
      version: response.headers.get("salver-model-version") ?? "",
      type: response.headers.get("content-type") ?? "",
    };
    const tell = () => {
      answer.ms = performance.now() - begun;
      progress(answer);
    };
    tell();
    await read(response, answer, tell);
    answer.ms = performance.now() - begun;
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("The server does not answer.", { hint: "Is it still running?", isLost: true });
  }
}

async function read(response, answer, tell) {
  if (!response.body) return;
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    answer.bytes += part.value.length;
    if (answer.text.length < MOST_SHOWN) {
      answer.text += decoder.decode(part.value, { stream: true });
      if (answer.text.length > MOST_SHOWN) {
        answer.text = answer.text.slice(0, MOST_SHOWN);
        answer.isCut = true;
      }
    } else answer.isCut = true;
    tell();
  }
}
