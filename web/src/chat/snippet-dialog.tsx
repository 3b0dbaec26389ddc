import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { keyOf } from "../api/key";
import { CopyButton } from "../ui/copy-button";
import { pictures } from "./actions";
import { SettingsError } from "./request";
import { snippetsOf, type Snippet } from "./snippets";
import { draft, panes, settings, type Pane } from "./state";
import { newId, pathOf } from "./tree";
import type { Node, Picture } from "./types";

const isOpen = signal(false);

export function openSnippets(): void {
  isOpen.value = true;
}

/** The conversation up to now, with what is typed, as programs in other languages. */
export function SnippetDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = isOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      class="dialog wide"
      aria-labelledby="snippet-title"
      onClose={() => (isOpen.value = false)}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
    >
      {open && <Snippets onClose={() => (isOpen.value = false)} />}
    </dialog>
  );
}

function Snippets({ onClose }: { onClose: () => void }) {
  const [index, setIndex] = useState(0);
  const [paneIndex, setPane] = useState(0);
  const snippets = made(panes.value[paneIndex]);
  const shown = Array.isArray(snippets) ? snippets[index] : undefined;
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !Array.isArray(snippets)) return;
    const next = (index + step + snippets.length) % snippets.length;
    setIndex(next);
    document.getElementById(`snippet-${next}`)?.focus();
  };
  return (
    <div class="dialog-body snippets">
      <div class="events-head">
        <h2 id="snippet-title">Copy as code</h2>
        <button type="button" class="button small" onClick={onClose}>
          Close
        </button>
      </div>
      {panes.value.length > 1 && (
        <label class="field">
          <span>Model</span>
          <select value={paneIndex} onChange={(event) => setPane(Number(event.currentTarget.value))}>
            {panes.value.map(({ model }, at) => (
              <option value={at}>{model.value}</option>
            ))}
          </select>
        </label>
      )}
      {Array.isArray(snippets) ? (
        <>
          <div class="snippet-tabs" role="tablist" aria-label="Language" onKeyDown={onKeyDown}>
            {snippets.map(({ name }, at) => (
              <button
                type="button"
                role="tab"
                id={`snippet-${at}`}
                aria-selected={at === index}
                aria-controls="snippet-text"
                tabIndex={at === index ? 0 : -1}
                onClick={() => setIndex(at)}
              >
                {name}
              </button>
            ))}
          </div>
          {shown && <Shown snippet={shown} index={index} />}
        </>
      ) : (
        <p class="notice">{snippets}</p>
      )}
    </div>
  );
}

function Shown({ snippet, index }: { snippet: Snippet; index: number }) {
  return (
    <>
      <div class="snippet-note">
        <p class="muted small">
          {keyOf("calls")
            ? "Set FEATHERWIRE_KEY to your key. "
            : "This gateway needs no key from here. "}
          It needs <code>{snippet.needs}</code>.
        </p>
        <CopyButton text={() => snippet.text} label={`Copy the ${snippet.name} program`}>
          Copy
        </CopyButton>
      </div>
      <pre
        id="snippet-text"
        class="snippet-text"
        role="tabpanel"
        aria-labelledby={`snippet-${index}`}
        tabIndex={0}
      >
        {snippet.text}
      </pre>
    </>
  );
}

/** The programs, or why there are none. */
function made(pane: Pane | undefined): Snippet[] | string {
  if (!pane?.model.value) return "Choose a model first.";
  const path = conversation(pathOf(pane.tree.value), draft.value.trim(), pictures.value);
  try {
    const call = { model: pane.model.value, path, settings: settings.value };
    return snippetsOf(call, keyOf("calls") !== "");
  } catch (error) {
    return error instanceof SettingsError ? error.message : `There is no program: ${String(error)}`;
  }
}

/** What is typed is the next prompt. Without it, the program asks for the last answer again. */
function conversation(path: Node[], typed: string, pictures: Picture[]): Node[] {
  const last = path.at(-1);
  const isTyped = typed !== "" || pictures.length > 0;
  const before = last?.role === "assistant" && !isTyped ? path.slice(0, -1) : path;
  if (!isTyped && before.length > 0) return before;
  const text = isTyped ? typed : "Say hello in five words";
  const id = newId();
  return [
    ...before,
    { id, parent: last?.id ?? "", children: [], role: "user", text, pictures },
  ];
}
