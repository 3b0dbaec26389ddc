// What is shown in place of a message, or of a part of the chat, that could not be drawn.

import { CopyButton } from "../ui/copy-button";
import { Failed } from "../ui/boundary";
import { save, startAgain } from "./menu";
import { answerOf } from "./state";
import type { Node } from "./types";

/** A message as plain text. The conversation goes on, and can be exported. */
export function PlainMessage({ node, message }: { node: Node; message: string }) {
  const text = textOf(node);
  return (
    <article class={node.role === "assistant" ? "answer" : "prompt"} aria-label="Plain message">
      <p class="notice" role="alert">
        This message cannot be shown as it should be ({message}). Its text is:
      </p>
      <pre class="plain-message" tabIndex={0}>
        {text}
      </pre>
      <CopyButton text={() => text} label="Copy the text" />
    </article>
  );
}

function textOf(node: Node): string {
  if (node.role === "user") return node.text;
  if (node.role === "tool") return node.results.map(({ text }) => text).join("\n");
  const { reasoning, content, refusal } = answerOf(node.id).value;
  return [reasoning, content, refusal].filter(Boolean).join("\n\n");
}

/** A part of the chat that has failed: the conversation can be taken away, or left. */
export function brokenChat(message: string, again: () => void) {
  return (
    <Failed message={message} again={again}>
      <button type="button" class="button small" onClick={save}>
        Export the conversation
      </button>
      <button type="button" class="button small" onClick={() => (startAgain(), again())}>
        New conversation
      </button>
    </Failed>
  );
}
