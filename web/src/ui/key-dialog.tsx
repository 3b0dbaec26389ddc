import { useEffect, useRef, useState } from "preact/hooks";
import { askForKey, keyOf, keyQuestion, problemOfKey, setKey, type KeySlot } from "../api/key";
import { openDialogs } from "./dialog";
import { view } from "./route";
import { Icon } from "./icons";

/** Opens the question for a key: on the view of keys for the admin key, elsewhere for calls. */
export function KeyButton() {
  const slot: KeySlot = view.value === "keys" ? "administration" : "calls";
  const name = slot === "administration" ? "Admin key" : "Key";
  const isSet = keyOf(slot) !== "";
  return (
    <button
      type="button"
      class="button quiet key-button"
      aria-label={isSet ? `${name}: set. Change it` : `${name}: none. Enter one`}
      onClick={() => askForKey(slot, "")}
    >
      <Icon name="key" />
      <span class="key-button-text">{isSet ? `${name} set` : name}</span>
    </button>
  );
}

/** Asks for a key, and keeps it in the session storage of this tab. */
export function KeyDialog() {
  const asked = keyQuestion.value;
  // A call in the background must not ask over another dialog, nor on a view of the other key.
  const isWanted =
    asked?.reason === "" || (asked?.slot === "administration") === (view.value === "keys");
  const question = isWanted && openDialogs.value === 0 ? asked : null;
  const dialog = useRef<HTMLDialogElement>(null);
  /** The question that the open dialog asks. */
  const shown = useRef<typeof question>(null);
  const [typed, setTyped] = useState("");
  useEffect(() => {
    shown.current = question;
    if (question) {
      setTyped("");
      if (!dialog.current?.open) dialog.current?.showModal();
    } else if (dialog.current?.open) dialog.current.close();
  }, [question]);
  const closed = () => {
    // The event comes late: the dialog may ask something else by now.
    if (dialog.current?.open || !shown.current) return;
    if (keyQuestion.peek() === shown.current) keyQuestion.value = null;
  };
  const slot = question?.slot ?? "calls";
  const problem = problemOfKey(typed);
  const save = (key: string) => {
    setKey(slot, key);
    keyQuestion.value = null;
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title" onClose={closed}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!problem) save(typed);
        }}
      >
        <h2 id="key-title">{slot === "administration" ? "Admin key" : "Gateway key"}</h2>
        {question?.reason && <p class="notice">{question.reason}</p>}
        <label class="field">
          <span>Key</span>
          <input
            type="password"
            name="gateway-key"
            autocomplete="off"
            spellcheck={false}
            placeholder={slot === "administration" ? "gw_admin_…" : "gw_live_…"}
            value={typed}
            aria-invalid={problem !== ""}
            aria-describedby={problem ? "key-problem" : undefined}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </label>
        {problem && (
          <small id="key-problem" class="field-error" role="alert">
            {problem}
          </small>
        )}
        <p class="muted small">
          The key stays in this tab, and goes only to this gateway. It is forgotten when you close
          the tab.
        </p>
        <div class="dialog-buttons">
          {keyOf(slot) && (
            <button type="button" class="button quiet" onClick={() => save("")}>
              Forget the key
            </button>
          )}
          <button type="button" class="button" onClick={() => (keyQuestion.value = null)}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={typed.trim() === "" || problem !== ""}>
            Use this key
          </button>
        </div>
      </form>
    </dialog>
  );
}
