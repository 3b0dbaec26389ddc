import { useEffect, useRef, useState } from "preact/hooks";
import { keyOf } from "../api/key";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { KeyRole, KeyState } from "../gen/featherwire/v1/key_limits_pb";
import { relative } from "../ui/format";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { DeleteKey, RevokeKey, RotateKey } from "./actions";
import { keyService } from "./call";
import { KeyDetails, type Action } from "./details";
import { ChangeKey, CreateKey } from "./edit";
import { SecretDialog, type NewSecret } from "./secret";
import { limitWords, ms, ROLES, STATES } from "./words";

const PAGE_SIZE = 100;

/** The pause after the last typed letter before the gateway is asked. */
const TYPING_MS = 200;

type Open =
  { what: Action | "details"; shown: Key } | { role: KeyRole } | { made: NewSecret } | undefined;

interface Props {
  canChange: boolean;
  onUsage: (key: Key) => void;
}

/** All keys, and the dialogs that show and change them. */
export function KeyList({ canChange, onUsage }: Props) {
  const [name, setName] = useState("");
  const [state, setState] = useState(KeyState.UNSPECIFIED);
  const list = useKeys(name, state);
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  const changed = (shown: Key) => {
    list.reload();
    setOpen({ what: "details", shown });
  };
  const made = (made: NewSecret) => {
    list.reload();
    setOpen({ made });
  };
  const isFiltered = name !== "" || state !== KeyState.UNSPECIFIED;
  return (
    <>
      <div class="toolbar">
        <input
          type="search"
          aria-label="Find keys by name"
          placeholder="Find by name"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <select
          aria-label="State of the keys"
          value={state}
          onChange={(event) => setState(Number(event.currentTarget.value))}
        >
          <option value={KeyState.UNSPECIFIED}>All states</option>
          {[KeyState.ACTIVE, KeyState.DISABLED, KeyState.EXPIRED, KeyState.REVOKED].map((state) => (
            <option value={state}>{STATES[state].words}</option>
          ))}
        </select>
        {canChange && (
          <button
            type="button"
            class="button primary"
            onClick={() => setOpen({ role: KeyRole.INFERENCE })}
          >
            <Icon name="plus" /> New key
          </button>
        )}
      </div>
      {list.problem && <ProblemCard problem={list.problem} onRetry={list.reload} />}
      {list.keys && list.keys.length === 0 && (
        <Empty {...{ isFiltered, canChange }} onBegin={() => setOpen({ role: KeyRole.ADMIN })} />
      )}
      {list.keys && list.keys.length > 0 && (
        <section class="card panel" aria-label="Keys">
          <Rows keys={list.keys} onOpen={(shown) => setOpen({ what: "details", shown })} />
          {list.hasMore && (
            <button
              type="button"
              class="button small more-keys"
              disabled={list.isLoading}
              onClick={list.loadMore}
            >
              Show more keys
            </button>
          )}
        </section>
      )}
      {open && (
        <Opened
          {...{ open, setOpen, close, canChange, changed, made, onUsage }}
          reload={list.reload}
        />
      )}
    </>
  );
}

interface EmptyProps {
  isFiltered: boolean;
  canChange: boolean;
  onBegin: () => void;
}

function Empty({ isFiltered, canChange, onBegin }: EmptyProps) {
  return (
    <section class="card panel empty-state">
      <Icon name="key" />
      <h2>{isFiltered ? "No key fits" : "No keys yet"}</h2>
      <p class="empty">
        {isFiltered
          ? "Change the name or the state above."
          : `A key tells the gateway who calls. Make one for each application or person, so that you
             can limit or revoke it without a change for the others.`}
      </p>
      {!isFiltered && canChange && (
        <>
          <p class="empty">
            Without keys the gateway answers every caller on its machine. From the first key on,
            calls need one. So begin with a key for managing keys.
          </p>
          <button type="button" class="button" onClick={onBegin}>
            <Icon name="key" /> Make an admin key
          </button>
        </>
      )}
    </section>
  );
}

function Rows({ keys, onOpen }: { keys: Key[]; onOpen: (key: Key) => void }) {
  const now = Date.now();
  return (
    <table class="table keys-table">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">State</th>
          <th scope="col">For</th>
          <th scope="col">Limits</th>
          <th scope="col">Ends</th>
          <th scope="col" class="right">
            Last used
          </th>
        </tr>
      </thead>
      <tbody>
        {keys.map((key) => {
          const state = STATES[key.state];
          const limits = limitWords(key.limits);
          const [used, ends] = [ms(key.lastUsedAt), ms(key.expiresAt)];
          return (
            <tr key={key.id}>
              <th scope="row">
                <button type="button" class="key-name" onClick={() => onOpen(key)}>
                  {key.name}
                </button>
                {key.owner && <span class="muted small">{key.owner}</span>}
              </th>
              <td>
                <span class="chip" data-tone={state.tone}>
                  {state.words}
                </span>
              </td>
              <td data-label="For">{ROLES[key.role]}</td>
              <td data-label="Limits" class="limit-words">
                {limits.length === 0 ? <span class="muted">none</span> : limits.join(", ")}
              </td>
              <td data-label="Ends">{ends === undefined ? "never" : relative(ends, now)}</td>
              <td data-label="Last used" class="right">
                {used === undefined ? "never" : relative(used, now)}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

interface OpenedProps {
  open: NonNullable<Open>;
  setOpen: (open: Open) => void;
  close: () => void;
  canChange: boolean;
  changed: (key: Key) => void;
  made: (made: NewSecret) => void;
  onUsage: (key: Key) => void;
  reload: () => void;
}

/** The dialog that is open. */
function Opened({ open, setOpen, close, canChange, changed, made, onUsage, reload }: OpenedProps) {
  if ("made" in open) return <SecretDialog made={open.made} onClose={close} />;
  if ("role" in open) return <CreateKey role={open.role} onClose={close} onCreated={made} />;
  const { what, shown } = open;
  const back = () => setOpen({ what: "details", shown });
  const ended = (key: Key | undefined) => (key ? changed(key) : (reload(), close()));
  switch (what) {
    case "change":
      return <ChangeKey shown={shown} onClose={back} onChanged={changed} />;
    case "rotate":
      return <RotateKey shown={shown} onClose={back} onRotated={made} />;
    case "revoke":
      return <RevokeKey shown={shown} onClose={back} onEnded={ended} />;
    case "delete":
      return <DeleteKey shown={shown} onClose={back} onEnded={ended} />;
    default: {
      const act = (action: Action) =>
        action === "usage" ? onUsage(shown) : setOpen({ what: action, shown });
      return (
        <KeyDetails {...{ shown, canChange }} onClose={close} onAction={act} onChanged={changed} />
      );
    }
  }
}

/** The keys that fit, a page at a time. */
function useKeys(name: string, state: KeyState) {
  const [keys, setKeys] = useState<Key[]>();
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState<Problem>();
  const [round, setRound] = useState(0);
  const secret = keyOf("administration");
  /** The load that counts: a further one ends it. */
  const loading = useRef<AbortController | undefined>(undefined);
  const [isLoading, setLoading] = useState(false);
  async function load(pageToken: string) {
    loading.current?.abort();
    const { signal } = (loading.current = new AbortController());
    setLoading(true);
    try {
      const page = await keyService().listKeys(
        { name, state, pageToken, pageSize: PAGE_SIZE },
        { signal },
      );
      if (signal.aborted) return;
      setKeys((before) => (pageToken ? [...(before ?? []), ...page.keys] : page.keys));
      setToken(page.nextPageToken);
      setProblem(undefined);
    } catch (error) {
      if (signal.aborted || isCancelled(error)) return;
      setProblem(problemOf(error, "administration"));
    }
    setLoading(false);
  }
  useEffect(() => {
    const timer = setTimeout(() => load(""), name ? TYPING_MS : 0);
    return () => {
      clearTimeout(timer);
      loading.current?.abort();
    };
  }, [name, state, round, secret]);
  return {
    keys,
    problem,
    hasMore: token !== "",
    isLoading,
    loadMore: () => void load(token),
    reload: () => setRound((round) => round + 1),
  };
}
