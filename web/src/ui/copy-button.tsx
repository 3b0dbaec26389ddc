import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icons";

interface Props {
  text: () => string;
  /** What is copied, for screen readers. */
  label: string;
  /** Words on the button. */
  children?: string;
}

/** Copies a text, and says so for a moment. */
export function CopyButton({ text, label, children }: Props) {
  const [state, setState] = useState<"ready" | "copied" | "failed">("ready");
  useEffect(() => {
    if (state === "ready") return;
    const timer = setTimeout(() => setState("ready"), 1_600);
    return () => clearTimeout(timer);
  }, [state]);
  const words = { ready: label, copied: "Copied", failed: "The browser refused to copy" }[state];
  return (
    <button
      type="button"
      class={`button quiet small ${children ? "" : "round"}`}
      aria-label={words}
      title={words}
      onClick={() => {
        copy(text()).then(
          () => setState("copied"),
          () => setState("failed"),
        );
      }}
    >
      <Icon name={state === "copied" ? "check" : "copy"} />
      {children && <span>{state === "copied" ? "Copied" : children}</span>}
    </button>
  );
}

async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Pages without TLS that are not of this machine have no clipboard, only this older way.
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  if (!isDone) throw new Error("refused");
}
