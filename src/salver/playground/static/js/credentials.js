// The key that a person has signed in with. It is kept for this tab alone, and goes with it.

const NAME = "salver:key";
let held = ""; // where the browser keeps nothing

/** The key; empty while nobody has signed in. */
export function key() {
  try {
    return sessionStorage.getItem(NAME) ?? held;
  } catch {
    return held;
  }
}

/** Keeps a key; an empty one forgets it. */
export function keepKey(value) {
  held = value;
  try {
    if (value) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
  } catch {
    // A browser that forbids it forgets the key with the page.
  }
}

/** Header fields of a request to this server, with the key where there is one. */
export function withKey(headers = {}) {
  const value = key();
  return value ? { ...headers, Authorization: `Bearer ${value}` } : headers;
}
