import { signal } from "@preact/signals";

/** The time between two announcements, so that a screen reader can finish a sentence. */
const PAUSE_MS = 2_500;

const spoken = signal("");
let waiting = "";
let timer = 0;

/** Tells a screen reader about new text: whole sentences, at most one announcement in a while. */
export function announce(text: string): void {
  waiting += text;
  timer ||= window.setTimeout(speak, PAUSE_MS);
}

function speak(): void {
  timer = 0;
  const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => waiting.lastIndexOf(mark)));
  if (end < 0) {
    if (waiting) timer = window.setTimeout(speak, PAUSE_MS);
    return;
  }
  spoken.value = waiting.slice(0, end + 1).trim();
  waiting = waiting.slice(end + 1);
  if (waiting) timer = window.setTimeout(speak, PAUSE_MS);
}

export function Announcer() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {spoken}
    </div>
  );
}
