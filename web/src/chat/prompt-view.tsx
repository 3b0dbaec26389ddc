import { useEffect, useRef, useState } from "preact/hooks";
import { CopyButton } from "../ui/copy-button";
import { isComposing } from "../ui/composing";
import { Icon } from "../ui/icons";
import { resend } from "./actions";
import type { Pane } from "./state";
import { Switch } from "./switch";
import type { PromptNode, ResultsNode } from "./types";

/** A prompt, which can be edited: the edited one is a further branch. */
export function PromptView({ pane, node }: { pane: Pane; node: PromptNode }) {
  const [typed, setTyped] = useState<string | null>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const isEditing = typed !== null;
  useEffect(() => {
    if (!isEditing) return;
    area.current?.focus();
    area.current?.setSelectionRange(node.text.length, node.text.length);
  }, [isEditing]);
  const send = () => {
    if (!typed?.trim()) return;
    setTyped(null);
    resend(pane, node, typed.trim());
  };
  return (
    <article class="prompt" aria-label="Your prompt">
      {node.pictures.length > 0 && (
        <div class="prompt-pictures">
          {node.pictures.map(({ name, url }) => (
            <img src={url} alt={name} />
          ))}
        </div>
      )}
      {isEditing ? (
        <div class="prompt-edit">
          <textarea
            ref={area}
            aria-label="Edit the prompt"
            rows={Math.min(12, typed.split("\n").length + 1)}
            value={typed}
            onInput={(event) => setTyped(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (isComposing(event)) return;
              if (event.key === "Escape") {
                event.stopPropagation();
                setTyped(null);
              }
              if (event.key !== "Enter" || event.shiftKey) return;
              event.preventDefault();
              send();
            }}
          />
          <div class="dialog-buttons">
            <button type="button" class="button small" onClick={() => setTyped(null)}>
              Cancel
            </button>
            <button
              type="button"
              class="button small primary"
              disabled={!typed.trim()}
              onClick={send}
            >
              Send as another version
            </button>
          </div>
        </div>
      ) : (
        node.text && <p class="prompt-text">{node.text}</p>
      )}
      {!isEditing && (
        <div class="prompt-tools">
          <Switch pane={pane} node={node} />
          <button
            type="button"
            class="button quiet small round"
            aria-label="Edit the prompt"
            title="Edit the prompt"
            onClick={() => setTyped(node.text)}
          >
            <Icon name="edit" />
          </button>
          <CopyButton text={() => node.text} label="Copy the prompt" />
        </div>
      )}
    </article>
  );
}

/** The results of tools that went back to the model. */
export function ResultsView({ node }: { node: ResultsNode }) {
  return (
    <article class="results" aria-label="Results of tools">
      {node.results.map(({ text }) => (
        <p>
          <Icon name="tool" /> <code>{text}</code>
        </p>
      ))}
    </article>
  );
}
