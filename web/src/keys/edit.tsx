import { useState } from "preact/hooks";
import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { KeyRole } from "../gen/featherwire/v1/key_limits_pb";
import { Dialog } from "../ui/dialog";
import { ProblemCard } from "../ui/problem-card";
import { keyService, useChange } from "./call";
import { draftOf, emptyDraft, expiryOf, labelsOf, limitsOf, maskOf } from "./draft";
import { KeyForm } from "./form";
import type { NewSecret } from "./secret";

interface CreateProps {
  /** What the key is for, unless the reader chooses something else. */
  role: KeyRole;
  onClose: () => void;
  onCreated: (secret: NewSecret) => void;
}

/** Creates a key. Its secret is in the answer, once. */
export function CreateKey({ role, onClose, onCreated }: CreateProps) {
  const [draft, setDraft] = useState(() => emptyDraft(role));
  const { isBusy, problem, run } = useChange();
  const create = () =>
    run(async () => {
      const { name, owner, role } = draft;
      const { secret, notice } = await keyService().createKey({
        name,
        owner,
        role,
        labels: labelsOf(draft),
        limits: role === KeyRole.INFERENCE ? limitsOf(draft) : undefined,
        ...expiryOf(draft),
      });
      onCreated({ name, secret, role, notice });
    });
  return (
    <Dialog title="New key" isWide onClose={onClose} onSubmit={create}>
      <KeyForm draft={draft} isNew onChange={setDraft} />
      {problem && <ProblemCard problem={problem} />}
      <Buttons words="Create key" isBusy={isBusy} onClose={onClose} />
    </Dialog>
  );
}

interface ChangeProps {
  shown: Key;
  onClose: () => void;
  onChanged: (key: Key) => void;
}

/** Changes the settings of a key. */
export function ChangeKey({ shown, onClose, onChanged }: ChangeProps) {
  const [draft, setDraft] = useState(() => draftOf(shown));
  const { isBusy, problem, run } = useChange();
  const change = () =>
    run(async () => {
      const { name, owner, role } = draft;
      const changed = await keyService().updateKey({
        id: shown.id,
        updateMask: { paths: maskOf(draft) },
        name,
        owner,
        labels: labelsOf(draft),
        limits: role === KeyRole.INFERENCE ? limitsOf(draft) : undefined,
        ...expiryOf(draft),
      });
      onChanged(changed);
    });
  return (
    <Dialog title={`Change ${shown.name}`} isWide onClose={onClose} onSubmit={change}>
      <KeyForm draft={draft} isNew={false} onChange={setDraft} />
      {problem && <ProblemCard problem={problem} />}
      <Buttons words="Save" isBusy={isBusy} onClose={onClose} />
    </Dialog>
  );
}

interface ButtonsProps {
  words: string;
  isBusy: boolean;
  onClose: () => void;
}

function Buttons({ words, isBusy, onClose }: ButtonsProps) {
  return (
    <div class="dialog-buttons">
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <button type="submit" class="button primary" disabled={isBusy}>
        {words}
      </button>
    </div>
  );
}
