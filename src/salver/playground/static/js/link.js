// The address of a model's page, with an input in it if wanted: #/model/NAME?signature=…&input=….
// What stands behind the # is never sent to the server.

import { InputError } from "./request.js";

const MOST_CHARACTERS = 8000; // of a link: chats and mail programs cut longer ones
const MOST_INFLATED = 1 << 20; // a link may come from anybody
const KEYS = ["signature", "version", "label"];

/** Where the page of a model is. */
export const modelAddress = (name) => `#/model/${encodeURIComponent(name)}`;

/**
 * The address of a model with an input.
 * @param which see api.js.
 * @param body the request as JSON text.
 * @returns the fragment. Throws InputError where it would be too long.
 */
export async function linkTo(name, { signature, which, body }) {
  const query = new URLSearchParams({ signature });
  if (which.kind === "version") query.set("version", which.version);
  if (which.kind === "label") query.set("label", which.label);
  query.set("input", toText(await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(body))));
  const link = `${modelAddress(name)}?${query}`;
  if (link.length > MOST_CHARACTERS) {
    throw new InputError(`This input is too large for a link: ${link.length.toLocaleString("en")} characters, and ${MOST_CHARACTERS.toLocaleString("en")} are the most.`);
  }
  return link;
}

/**
 * What a fragment asks for.
 * @returns {{dashboard?: true, model?: string, query?: string}}
 */
export function readAddress(fragment) {
  const [path, query = ""] = splitOnce(fragment, "?");
  const [, kind, rest] = path.split("/");
  if (kind === "dashboard") return { dashboard: true };
  if (kind !== "model" || !rest) return {};
  try {
    return { model: decodeURIComponent(rest), query };
  } catch {
    return {};
  }
}

/**
 * The input of a link.
 * @param query of the fragment.
 * @returns {{signature, version, label, body}|null} null where it has none. Throws InputError where
 *     it cannot be read.
 */
export async function inputOf(query) {
  const asked = new URLSearchParams(query);
  if (!asked.has("input")) return null;
  try {
    const bytes = await through(new DecompressionStream("deflate-raw"), toBytes(asked.get("input")));
    const body = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { ...Object.fromEntries(KEYS.map((key) => [key, asked.get(key)])), body };
  } catch {
    throw new InputError("The input in this link cannot be read: a part of it is missing, or it is too large.");
  }
}

function splitOnce(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

async function through(stream, bytes) {
  const writer = stream.writable.getWriter();
  writer.write(bytes).then(() => writer.close()).catch(() => {}); // reading tells what is wrong
  const reader = stream.readable.getReader();
  const parts = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > MOST_INFLATED) {
      await reader.cancel();
      throw new RangeError("too large");
    }
    parts.push(part.value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const toText = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
  .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
