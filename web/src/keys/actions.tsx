// What can be done with a key besides changing its settings. Each asks before it acts.

import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { useState } from "preact/hooks";
import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { Dialog } from "../ui/dialog";
import { ProblemCard } from "../ui/problem-card";
import { keyService, useChange } from "./call";
import type { NewSecret } from "./secret";

const HOUR_MS = 3_600_000;

/** How long the present secret stays valid after a rotation, in hours. */
const GRACES = [
  { hours: 1, words: "1 hour" },
  { hours: 24, words: "24 hours" },
  { hours: 168, words: "7 days" },
  { hours: 0, words: "not at all: others know it" },
] as const;

interface RotateProps {
  shown: Key;
  onClose: () => void;
  onRotated: (secret: NewSecret) => void;
}

/** Gives a key another secret, while the present one stays valid for a time. */
export function RotateKey({ shown, onClose, onRotated }: RotateProps) {
  const [hours, setHours] = useState(24);
  const { isBusy, problem, run } = useChange();
  const rotate = () =>
    run(async () => {
      const grace = durationFromMs(hours * HOUR_MS);
      const { name, secret } = await keyService().rotateKey({ id: shown.id, grace });
      const length = GRACES.find((grace) => grace.hours === hours)?.words;
      const overlap =
        hours === 0
          ? "The secret before it has ended."
          : `The secret before it stays valid for ${length}: change your programs until then.`;
      onRotated({ name, secret, role: shown.role, overlap });
    });
  return (
    <Dialog title={`Rotate ${shown.name}`} onClose={onClose} onSubmit={rotate}>
      <p>The key gets another secret. Its limits and its records stay.</p>
      <label class="field">
        <span>The present secret stays valid for</span>
        <select value={hours} onChange={(event) => setHours(Number(event.currentTarget.value))}>
          {GRACES.map(({ hours, words }) => (
            <option value={hours}>{words}</option>
          ))}
        </select>
      </label>
      {problem && <ProblemCard problem={problem} />}
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" class="button primary" disabled={isBusy}>
          Make another secret
        </button>
      </div>
    </Dialog>
  );
}

interface EndProps {
  shown: Key;
  onClose: () => void;
  /** With the key, unless it is gone. */
  onEnded: (key: Key | undefined) => void;
}

/** Ends a key for ever. */
export function RevokeKey({ shown, onClose, onEnded }: EndProps) {
  const [cutCalls, setCutCalls] = useState(false);
  const { isBusy, problem, run } = useChange();
  const revoke = () =>
    run(async () => onEnded(await keyService().revokeKey({ id: shown.id, cutCalls })));
  return (
    <Dialog title={`Revoke ${shown.name}?`} onClose={onClose} onSubmit={revoke}>
      <p>
        The key ends for ever: its next calls get 401. It stays in the list, and so do the records
        of its calls.
      </p>
      <label class="tick">
        <input
          type="checkbox"
          checked={cutCalls}
          onChange={(event) => setCutCalls(event.currentTarget.checked)}
        />
        <span>End its running calls too</span>
      </label>
      {problem && <ProblemCard problem={problem} />}
      <div class="dialog-buttons">
        <button type="button" class="button" autofocus onClick={onClose}>
          Keep the key
        </button>
        <button type="submit" class="button danger" disabled={isBusy}>
          Revoke for ever
        </button>
      </div>
    </Dialog>
  );
}

/** Removes a revoked key from the list. */
export function DeleteKey({ shown, onClose, onEnded }: EndProps) {
  const { isBusy, problem, run } = useChange();
  const remove = () =>
    run(async () => {
      await keyService().deleteKey({ id: shown.id });
      onEnded(undefined);
    });
  return (
    <Dialog title={`Delete ${shown.name}?`} onClose={onClose} onSubmit={remove}>
      <p>The key leaves the list. The records of its calls and changes stay.</p>
      {problem && <ProblemCard problem={problem} />}
      <div class="dialog-buttons">
        <button type="button" class="button" autofocus onClick={onClose}>
          Keep it in the list
        </button>
        <button type="submit" class="button danger" disabled={isBusy}>
          Delete
        </button>
      </div>
    </Dialog>
  );
}
