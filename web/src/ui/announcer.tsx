import { signal } from "@preact/signals";

/** The time between two announcements, so that a screen reader can finish a sentence. */
const PAUSE_MS = 2_500;

/** A text without an end of a sentence is told in pieces of this length. */
const PIECE_MAX = 400;

/** Texts that wait for longer than a listener would are left out from their beginning. */
const WAITING_MAX = 4_000;

interface Speaker {
  name: string;
  waiting: string;
  isEnded: boolean;
}

const spoken = signal("");
/** What is to be told, by the id of the answer. */
const speakers = new Map<string, Speaker>();
let lastId = "";
let timer = 0;

/**
 * Tells a screen reader about new text of this answer: whole sentences, at most one announcement in a
 * while. Of several answers each has its turn, with the name of its model.
 */
export function announce(id: string, name: string, text: string, isEnd = false): void {
  const speaker = speakers.get(id) ?? { name, waiting: "", isEnded: false };
  speaker.waiting = (speaker.waiting + text).slice(-WAITING_MAX);
  speaker.isEnded ||= isEnd;
  speakers.set(id, speaker);
  timer ||= window.setTimeout(speak, PAUSE_MS);
}

function speak(): void {
  timer = 0;
  for (const [id, speaker] of [...speakers]) {
    const length = speaker.isEnded ? speaker.waiting.length : sentencesIn(speaker.waiting);
    const text = speaker.waiting.slice(0, length).trim();
    speaker.waiting = speaker.waiting.slice(length);
    // The next turn is that of another one.
    speakers.delete(id);
    if (!speaker.isEnded) speakers.set(id, speaker);
    if (!text) continue;
    spoken.value = id === lastId ? text : `${speaker.name}: ${text}`;
    lastId = id;
    break;
  }
  if (speakers.size > 0) timer = window.setTimeout(speak, PAUSE_MS);
}

/** The length of the whole sentences, or of a piece if a sentence does not end. */
function sentencesIn(text: string): number {
  const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => text.lastIndexOf(mark)));
  if (end >= 0) return end + 1;
  return text.length < PIECE_MAX ? 0 : text.lastIndexOf(" ", PIECE_MAX) + 1 || PIECE_MAX;
}

export function Announcer() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {spoken}
    </div>
  );
}
