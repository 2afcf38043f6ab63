// tf.Examples: from the form to JSON for :classify and :regress, and to protocol-buffer bytes for
// string inputs of :predict. Source of the field numbers: TensorFlow's example.proto, feature.proto.

import { Float } from "./json.js";

/** One feature as JSON: a value, or a list of them. */
export function featureJson({ type, values }) {
  const list = values.map((value) => {
    if (type === "float") return new Float(value);
    return type === "bytes" ? { b64: value } : value;
  });
  return list.length === 1 ? list[0] : list;
}

/** An example as the serialized message. @returns {Uint8Array} */
export function serialized(features) {
  const entries = features.map(({ name, type, values }) =>
    sized(1, [...sized(1, utf8(name)), ...sized(2, feature(type, values))]),
  );
  return new Uint8Array(sized(1, entries.flat()));
}

function feature(type, values) {
  if (type === "float") return sized(2, sized(1, values.flatMap(float32)));
  if (type === "int") return sized(3, sized(1, values.flatMap((value) => varint(BigInt(value)))));
  const bytes = type === "bytes" ? fromBase64 : utf8;
  return sized(1, values.flatMap((value) => sized(1, bytes(value))));
}

function sized(number, payload) {
  return [...varint(BigInt((number << 3) | 2)), ...varint(BigInt(payload.length)), ...payload];
}

function varint(number) {
  let rest = BigInt.asUintN(64, number);
  const bytes = [];
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

const float32 = (value) => [...new Uint8Array(new Float32Array([value]).buffer)];
const utf8 = (text) => [...new TextEncoder().encode(text)];
const fromBase64 = (text) => [...atob(text)].map((sign) => sign.charCodeAt(0));

/** Bytes as standard base64. */
export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}
