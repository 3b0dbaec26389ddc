import { useState } from "preact/hooks";
import { setKey, type KeySlot } from "../api/key";
import { KeyRole } from "../gen/featherwire/v1/key_limits_pb";
import { CopyButton } from "../ui/copy-button";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";

export interface NewSecret {
  name: string;
  secret: string;
  role: KeyRole;
  /** What the owner of the gateway must know now. */
  notice?: string;
  /** Until when the present secret works, in words. */
  overlap?: string;
}

interface Props {
  made: NewSecret;
  onClose: () => void;
}

/** Shows a secret, once. Nothing of the page keeps it, unless a button says so. */
export function SecretDialog({ made, onClose }: Props) {
  const [isUsed, setUsed] = useState(false);
  const isForCalls = made.role === KeyRole.INFERENCE;
  const slot: KeySlot = isForCalls ? "calls" : "administration";
  return (
    <Dialog title={`The secret of ${made.name}`} isFirm onClose={onClose}>
      <p>
        Copy it now and keep it in a safe place. The gateway keeps only its checksum, so nobody can
        show it again.
      </p>
      <div class="secret">
        <code class="secret-text">{made.secret}</code>
        <CopyButton text={() => made.secret} label="Copy the secret">
          Copy
        </CopyButton>
      </div>
      {made.overlap && <p class="small muted">{made.overlap}</p>}
      {made.notice && <p class="notice">{made.notice}</p>}
      <div class="dialog-buttons">
        <button
          type="button"
          class="button"
          disabled={isUsed}
          onClick={() => {
            setKey(slot, made.secret);
            setUsed(true);
          }}
        >
          <Icon name={isUsed ? "check" : "key"} />
          {isUsed ? "This tab uses it" : isForCalls ? "Use it in the chat" : "Use it on this page"}
        </button>
        <button type="button" class="button primary" onClick={onClose}>
          I have kept it
        </button>
      </div>
    </Dialog>
  );
}
