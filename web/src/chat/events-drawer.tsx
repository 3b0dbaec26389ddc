import { toJsonString } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { StreamChatCompletionResponseSchema } from "../gen/featherwire/v1/chat_service_pb";
import { CopyButton } from "../ui/copy-button";
import { events, type RawEvent } from "./run";
import { answerOf } from "./state";

/** Later events than these are only copied, so that the page stays quick. */
const SHOWN_MAX = 500;

const open = signal<string | null>(null);

export function openEvents(id: string): void {
  open.value = id;
}

/** The messages of a stream as they arrived, in the JSON of protobuf. */
export function EventsDrawer() {
  const id = open.value;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (id) dialog.current?.showModal();
    else dialog.current?.close();
  }, [id]);
  return (
    <dialog
      ref={dialog}
      class="dialog drawer"
      aria-labelledby="events-title"
      onClose={() => (open.value = null)}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
    >
      {id && <Events id={id} onClose={() => (open.value = null)} />}
    </dialog>
  );
}

function Events({ id, onClose }: { id: string; onClose: () => void }) {
  // Read for its changes: the events belong to it.
  const answer = answerOf(id).value;
  const list = events.get(id) ?? [];
  return (
    <div class="events">
      <div class="events-head">
        <h2 id="events-title">Raw events</h2>
        <span class="muted small numbers">
          {list.length} {list.length === 1 ? "message" : "messages"}
        </span>
        <CopyButton text={() => list.map(json).join("\n")} label="Copy all events">
          Copy all
        </CopyButton>
        <button type="button" class="button small" onClick={onClose}>
          Close
        </button>
      </div>
      {list.length === 0 ? (
        <p class="muted small">
          {answer.state === "waiting"
            ? "Nothing has arrived yet."
            : "The events of this answer are not kept: the page was loaded again, or it is a copy."}
        </p>
      ) : (
        <ol class="events-list" tabIndex={0} aria-label="Events">
          {list.slice(0, SHOWN_MAX).map((event) => (
            <li>
              <span class="numbers muted">{event.at} ms</span>
              <code>{json(event)}</code>
            </li>
          ))}
        </ol>
      )}
      {list.length > SHOWN_MAX && (
        <p class="muted small">Copy all events to see those after the first {SHOWN_MAX}.</p>
      )}
    </div>
  );
}

const texts = new WeakMap<RawEvent, string>();

function json(event: RawEvent): string {
  const known = texts.get(event);
  if (known !== undefined) return known;
  let text: string;
  try {
    const options = { useProtoFieldName: true };
    text = toJsonString(StreamChatCompletionResponseSchema, event.message, options);
  } catch (error) {
    text = `This message has no JSON: ${(error as Error).message}`;
  }
  texts.set(event, text);
  return text;
}
