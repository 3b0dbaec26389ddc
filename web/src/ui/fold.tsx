import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface Props {
  icon?: IconName;
  title: string;
  /** Short words beside the title. */
  note?: string;
  isOpenAtFirst?: boolean;
  children: ComponentChildren;
}

/** A part of the page that opens. Its content is drawn only while it is open. */
export function Fold({ icon, title, note, isOpenAtFirst = false, children }: Props) {
  const [isOpen, setOpen] = useState(isOpenAtFirst);
  return (
    <details class="fold" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="right" />
        {icon && <Icon name={icon} />}
        <span class="fold-title">{title}</span>
        {note && <span class="fold-note">{note}</span>}
      </summary>
      {isOpen && <div class="fold-body">{children}</div>}
    </details>
  );
}
