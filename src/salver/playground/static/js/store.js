// What is remembered in this browser. A browser that forbids it just forgets.

const PREFIX = "salver:";

/** What was kept under a key, or `otherwise`. */
export function recall(key, otherwise = null) {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/** Keeps a value that JSON can hold; null forgets it. */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Private windows and full stores: nothing on the page depends on it.
  }
}
