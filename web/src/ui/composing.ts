/**
 * Whether a key belongs to a text that is composed, as of Chinese or Japanese. Safari ends the
 * composition before the key that ends it: that key has only the code of such keys.
 */
export function isComposing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === 229;
}
