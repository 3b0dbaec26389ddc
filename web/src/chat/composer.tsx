import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isComposing } from "../ui/composing";
import { Icon } from "../ui/icons";
import { addPicture, keepTyping, pictures, reading, send, toggleComparison } from "./actions";
import { imagesOf, pictureOf } from "./images";
import { searching } from "./model-picker";
import { runningCount, stopAll } from "./run";
import { openSnippets } from "./snippet-dialog";
import { draft, panes } from "./state";
import { storageProblem } from "./storage";

/** The largest height of the text, in pixels. Longer texts scroll. */
const HEIGHT_MAX = 260;

const problem = signal("");

/** Whether files are held over the chat. */
const isOver = signal(false);

/** What makes a part of the page a place for images to drop. */
export const dropPlace = {
  onDragOver(event: DragEvent) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    isOver.value = true;
  },
  onDragLeave: () => (isOver.value = false),
  onDrop(event: DragEvent) {
    // Otherwise the browser would leave the page and show the file.
    event.preventDefault();
    isOver.value = false;
    void addImages(event.dataTransfer?.files);
  },
};

/** Adds the images among these files to the next prompt. */
export async function addImages(files: Iterable<File> | null | undefined): Promise<void> {
  problem.value = "";
  // All at once, so that the prompt waits for each.
  const added = imagesOf(files).map((file) => addPicture(pictureOf(file)));
  for (const result of await Promise.allSettled(added)) {
    if (result.status === "rejected") problem.value = (result.reason as Error).message;
  }
}

/** Where a prompt is written. Enter sends, Shift+Enter is a line, Escape stops. */
export function Composer() {
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const text = draft.value;
  useEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, HEIGHT_MAX)}px`;
  }, [text]);
  const isRunning = runningCount.value > 0;
  const isEmpty = text.trim() === "" && pictures.value.length === 0 && reading.value === 0;
  const isComparing = panes.value.length > 1;
  const notice =
    problem.value || (reading.value > 0 ? "The image is being read." : storageProblem.value);
  return (
    <form
      class="composer"
      data-over={isOver.value}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {notice && (
        <p class="notice" role="status">
          {notice}
        </p>
      )}
      {pictures.value.length > 0 && <Pictures />}
      <textarea
        ref={area}
        id="prompt"
        aria-label="Prompt"
        placeholder={isComparing ? "Ask both models" : "Ask the model"}
        rows={1}
        autofocus
        value={text}
        onInput={(event) => keepTyping(event.currentTarget.value)}
        onPaste={(event) => {
          const images = imagesOf(event.clipboardData?.files);
          if (images.length === 0) return;
          event.preventDefault();
          void addImages(images);
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
          event.preventDefault();
          send();
        }}
      />
      <div class="composer-tools">
        <input
          ref={picker}
          type="file"
          accept="image/*"
          multiple
          hidden
          aria-label="Images"
          onChange={({ currentTarget }) => {
            void addImages([...(currentTarget.files ?? [])]);
            currentTarget.value = "";
          }}
        />
        <button
          type="button"
          class="button quiet"
          aria-label="Image"
          title="Add an image, or paste or drop one"
          onClick={() => picker.current?.click()}
        >
          <Icon name="image" /> <span class="composer-word">Image</span>
        </button>
        <button
          type="button"
          class="button quiet"
          aria-label="Compare"
          title="Ask a second model too"
          aria-pressed={isComparing}
          onClick={() => {
            const added = toggleComparison();
            if (added) searching.value = added;
          }}
        >
          <Icon name="columns" /> <span class="composer-word">Compare</span>
        </button>
        <button
          type="button"
          class="button quiet"
          aria-label="Copy as code"
          title="The same call as a program"
          onClick={openSnippets}
        >
          <Icon name="code" /> <span class="composer-word">Copy as code</span>
        </button>
        <span class="composer-hint muted">
          {isRunning ? (
            <>
              <kbd>Esc</kbd> stops
            </>
          ) : (
            <>
              <kbd>Enter</kbd> sends
            </>
          )}
        </span>
        {isRunning ? (
          <button
            type="button"
            class="button primary round-send"
            aria-label="Stop"
            onClick={stopAll}
          >
            <Icon name="stop" />
          </button>
        ) : (
          <button
            type="submit"
            class="button primary round-send"
            aria-label="Send"
            disabled={isEmpty || panes.value.every((pane) => !pane.model.value)}
          >
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}

function Pictures() {
  return (
    <ul class="composer-pictures" aria-label="Images of the prompt">
      {pictures.value.map((picture) => (
        <li>
          <img src={picture.url} alt={picture.name} />
          <button
            type="button"
            class="button small round"
            aria-label={`Remove ${picture.name}`}
            onClick={() => (pictures.value = pictures.value.filter((other) => other !== picture))}
          >
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}
