import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

/** The number of dialogs of this kind on the page. */
export const openDialogs = signal(0);

interface Props {
  title: string;
  isWide?: boolean;
  /** Whether Escape is ignored, because closing loses something. */
  isFirm?: boolean;
  onClose: () => void;
  /** Makes the content a form. */
  onSubmit?: () => void;
  children: ComponentChildren;
}

/** A dialog that is open while it is drawn. The focus goes back where it was when it closes. */
export function Dialog({ title, isWide, isFirm, onClose, onSubmit, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const isGone = useRef(false);
  const id = useId();
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    openDialogs.value += 1;
    return () => {
      // The event of this close must not count as a wish of the reader.
      isGone.current = true;
      element?.close();
      openDialogs.value -= 1;
    };
  }, []);
  const content = (
    <>
      <h2 id={id}>{title}</h2>
      {children}
    </>
  );
  return (
    <dialog
      ref={dialog}
      class={`dialog ${isWide ? "wide" : ""}`}
      aria-labelledby={id}
      onCancel={(event) => isFirm && event.preventDefault()}
      onClose={() => !isGone.current && onClose()}
    >
      {onSubmit ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            onSubmit();
          }}
        >
          {content}
        </form>
      ) : (
        <div class="dialog-body">{content}</div>
      )}
    </dialog>
  );
}
