import { signal } from "@preact/signals";

/**
 * The gateway keys that the page sends: one for calls of models, and one for the administration,
 * because a key is for one of the two. They are in the session storage of this tab only.
 */
export type KeySlot = "calls" | "administration";

const NAMES = { calls: "featherwire.key", administration: "featherwire.admin-key" } as const;

/** What is wrong with a key, in words, or nothing. A header has only visible ASCII characters. */
export function problemOfKey(key: string): string {
  const wrong = /[^\x21-\x7e]/u.exec(key.trim())?.[0];
  if (wrong === undefined) return "";
  const name = /^\s$/.test(wrong) ? "a space or a line break" : `the character ${wrong}`;
  return `This is no key: it has ${name} in it.`;
}

function stored(slot: KeySlot): string {
  try {
    const key = sessionStorage.getItem(NAMES[slot]) ?? "";
    return problemOfKey(key) ? "" : key;
  } catch {
    // Without storage the key is lost with the page, and all else works.
    return "";
  }
}

const keys = { calls: signal(stored("calls")), administration: signal(stored("administration")) };

/** The question for a key that the page shows now, with the gateway's own words. */
export const keyQuestion = signal<{ slot: KeySlot; reason: string } | null>(null);

/** The key of this slot, or an empty text. An effect that reads it runs again after a change. */
export function keyOf(slot: KeySlot): string {
  return keys[slot].value;
}

export function setKey(slot: KeySlot, key: string): void {
  const clean = problemOfKey(key) ? "" : key.trim();
  try {
    if (clean) sessionStorage.setItem(NAMES[slot], clean);
    else sessionStorage.removeItem(NAMES[slot]);
  } catch {
    // As above.
  }
  keys[slot].value = clean;
}

/**
 * Asks for a key: because a call needs one, with the reason, or because the reader wants to enter
 * one. The former does not replace an open question for the same key.
 */
export function askForKey(slot: KeySlot, reason: string): void {
  const open = keyQuestion.peek();
  if (open && reason !== "" && (open.slot === slot || slot === "calls")) return;
  keyQuestion.value = { slot, reason };
}
