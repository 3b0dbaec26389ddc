import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { KeyState } from "../gen/featherwire/v1/key_limits_pb";
import { dateAndTime, relative } from "../ui/format";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { BudgetList } from "./budgets";
import { keyService, useChange } from "./call";
import { isOver, limitWords, ms, ROLES, STATES } from "./words";

export type Action = "change" | "rotate" | "revoke" | "delete" | "usage";

interface Props {
  shown: Key;
  canChange: boolean;
  onClose: () => void;
  onAction: (action: Action) => void;
  onChanged: (key: Key) => void;
}

/** All that is known of a key, and what can be done with it. */
export function KeyDetails({ shown, canChange, onClose, onAction, onChanged }: Props) {
  const state = STATES[shown.state];
  const limits = limitWords(shown.limits);
  const models = shown.limits?.models ?? [];
  return (
    <Dialog title={shown.name} isWide onClose={onClose}>
      <p class="key-line">
        <span class="chip" data-tone={state.tone}>
          {state.words}
        </span>
        <span class="muted small">{ROLES[shown.role]}</span>
        {shown.owner && <span class="muted small">of {shown.owner}</span>}
      </p>
      <dl class="details">
        <Moment words="Created" at={ms(shown.createdAt)} />
        <Moment words="Last used" at={ms(shown.lastUsedAt)} none="never" />
        <Moment words="Ends" at={ms(shown.expiresAt)} none="never" />
        {shown.disabledAt && <Moment words="Disabled" at={ms(shown.disabledAt)} />}
        {shown.revokedAt && <Moment words="Revoked" at={ms(shown.revokedAt)} />}
        {shown.callsCutAt && <Moment words="Calls ended" at={ms(shown.callsCutAt)} />}
        {Object.entries(shown.labels).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value || "–"}</dd>
          </div>
        ))}
        <div>
          <dt>Limits</dt>
          <dd>{limits.length === 0 ? "none" : limits.join(", ")}</dd>
        </div>
        {models.length > 1 && (
          <div>
            <dt>Models</dt>
            <dd>
              {models.map((model) => (
                <code key={model}>{model}</code>
              ))}
            </dd>
          </div>
        )}
        <div>
          <dt>Id</dt>
          <dd>
            <code>{shown.id}</code>
          </dd>
        </div>
      </dl>
      {shown.budgets.length > 0 && <BudgetList budgets={shown.budgets} />}
      <Secrets shown={shown} />
      <Buttons {...{ shown, canChange, onClose, onAction, onChanged }} />
    </Dialog>
  );
}

interface MomentProps {
  words: string;
  at: number | undefined;
  none?: string;
}

function Moment({ words, at, none = "–" }: MomentProps) {
  return (
    <div>
      <dt>{words}</dt>
      <dd>{at === undefined ? none : `${dateAndTime(at)} (${relative(at, Date.now())})`}</dd>
    </div>
  );
}

function Secrets({ shown }: { shown: Key }) {
  return (
    <table class="table">
      <thead>
        <tr>
          <th scope="col">Secret</th>
          <th scope="col">Created</th>
          <th scope="col">Ends</th>
        </tr>
      </thead>
      <tbody>
        {shown.secrets.map((secret) => {
          const ends = ms(secret.endsAt);
          return (
            <tr key={secret.publicId}>
              <td>
                <code>
                  {secret.publicId}…{secret.lastFour}
                </code>
              </td>
              <td>{relative(ms(secret.createdAt) ?? 0, Date.now())}</td>
              <td>{ends === undefined ? "with the key" : relative(ends, Date.now())}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Buttons({ shown, canChange, onAction, onChanged, onClose }: Props) {
  const { isBusy, problem, run } = useChange();
  const isDisabled = shown.disabledAt !== undefined;
  const disable = () =>
    run(async () =>
      onChanged(
        await keyService().updateKey({
          id: shown.id,
          updateMask: { paths: ["disabled"] },
          disabled: !isDisabled,
        }),
      ),
    );
  const usable = canChange && !isOver(shown);
  return (
    <>
      {problem && <ProblemCard problem={problem} />}
      {!canChange && (
        <p class="small muted">Your key may read keys and usage, and change nothing.</p>
      )}
      <div class="dialog-buttons spread">
        {usable && (
          <>
            <button type="button" class="button" onClick={() => onAction("change")}>
              <Icon name="edit" /> Change
            </button>
            {shown.state !== KeyState.EXPIRED && (
              <button type="button" class="button" onClick={() => onAction("rotate")}>
                <Icon name="retry" /> Rotate
              </button>
            )}
            <button type="button" class="button" disabled={isBusy} onClick={disable}>
              {isDisabled ? "Enable" : "Disable"}
            </button>
            <button type="button" class="button danger" onClick={() => onAction("revoke")}>
              Revoke
            </button>
          </>
        )}
        {canChange && isOver(shown) && (
          <button type="button" class="button danger" onClick={() => onAction("delete")}>
            <Icon name="trash" /> Delete
          </button>
        )}
        <button type="button" class="button" onClick={() => onAction("usage")}>
          Usage
        </button>
        <button type="button" class="button primary" onClick={onClose}>
          Close
        </button>
      </div>
    </>
  );
}
