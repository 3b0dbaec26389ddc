import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { Icon } from "../ui/icons";
import { forgetSending } from "./actions";
import { endPane } from "./run";
import { draft, forget, newPane, panes, settings, startOver } from "./state";
import { read, written } from "./transfer";

/** Why a file was not read, in words. */
export const fileProblem = signal("");

/** A new conversation, and conversations as files. */
export function Menu() {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={picker}
        type="file"
        accept="application/json,.json"
        hidden
        aria-label="Conversation file"
        onChange={({ currentTarget }) => {
          const file = currentTarget.files?.[0];
          if (file) void takeIn(file);
          currentTarget.value = "";
        }}
      />
      <button
        type="button"
        class="button quiet round"
        aria-label="Import a conversation"
        title="Import a conversation"
        onClick={() => picker.current?.click()}
      >
        <Icon name="upload" />
      </button>
      <button
        type="button"
        class="button quiet round"
        aria-label="Export the conversation"
        title="Export the conversation"
        onClick={save}
      >
        <Icon name="download" />
      </button>
      <button
        type="button"
        class="button quiet"
        aria-label="New conversation"
        title="New conversation"
        onClick={() => {
          startAgain();
          document.getElementById("prompt")?.focus();
        }}
      >
        <Icon name="plus" /> <span class="menu-word">New</span>
      </button>
    </>
  );
}

export function startAgain(): void {
  forgetSending();
  panes.peek().forEach(endPane);
  startOver();
}

async function takeIn(file: File): Promise<void> {
  try {
    const kept = read(JSON.parse(await file.text()));
    forgetSending();
    const before = panes.peek();
    before.forEach(endPane);
    panes.value = kept.panes.map(({ model, tree }) => newPane(model, tree));
    settings.value = kept.settings;
    draft.value = kept.draft;
    fileProblem.value = "";
    before.forEach(forget);
  } catch (error) {
    const why = error instanceof SyntaxError ? "This is not JSON." : (error as Error).message;
    fileProblem.value = `${file.name} was not imported. ${why}`;
  }
}

export function save(): void {
  const kept = written(panes.peek(), settings.peek(), draft.peek());
  const blob = new Blob([`${JSON.stringify(kept, null, 2)}\n`], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `featherwire-${new Date().toISOString().slice(0, 16).replace(":", "-")}.json`;
  link.click();
  // After the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
