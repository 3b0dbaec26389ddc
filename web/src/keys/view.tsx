import { useState } from "preact/hooks";
import { askForKey } from "../api/key";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { Segments } from "../ui/segments";
import { useAccess, type Access } from "./access";
import { KeyList } from "./list";
import { OwnKey } from "./own-key";
import { UsageView, type ChosenKey } from "./usage";

type Part = "keys" | "usage";

/** Keys and usage: of all callers with an admin key, and without one only the caller's own. */
export function KeysView() {
  const { access, retry } = useAccess();
  const [part, setPart] = useState<Part>("keys");
  const [chosen, setChosen] = useState<ChosenKey>();
  const isOwn = access.kind === "own";
  const parts = [
    { value: "keys", words: isOwn ? "My key" : "Keys" },
    { value: "usage", words: isOwn ? "My usage" : "Usage" },
  ] as const;
  return (
    <section class="keys-view page" aria-labelledby="keys-title">
      <header class="page-head">
        <h1 id="keys-title">Keys and usage</h1>
        {(isOwn || access.kind === "all") && (
          <Segments label="Part of the view" options={parts} value={part} onChange={setPart} />
        )}
      </header>
      {access.kind === "unknown" && <p class="muted">Asking the gateway…</p>}
      {access.kind === "failed" && <ProblemCard problem={access.problem} onRetry={retry} />}
      {access.kind === "own" && <Why why={access.why} />}
      {access.kind === "all" && part === "keys" && (
        <KeyList
          canChange={access.canChange}
          onUsage={({ id, name }) => {
            setChosen({ id, name });
            setPart("usage");
          }}
        />
      )}
      {access.kind === "all" && part === "usage" && (
        <UsageView scope="all" chosen={chosen} onChoose={setChosen} />
      )}
      {isOwn && part === "keys" && <OwnKey />}
      {isOwn && part === "usage" && <UsageView scope="own" />}
    </section>
  );
}

type Reason = Extract<Access, { kind: "own" }>["why"];

/** Why only the caller's own key is shown, and how to see all. */
function Why({ why }: { why: Reason }) {
  if (why === "elsewhere") {
    return (
      <p class="banner">
        The administration of this gateway has an address of its own (<code>--admin-listen</code>),
        at which this page is not. Manage keys with <code>featherwire keys --gateway ADDRESS</code>.
        Here you see your own key.
      </p>
    );
  }
  return (
    <div class="banner">
      <p>
        {why === "wrong-role"
          ? "Your admin key is for calls of models and manages nothing. "
          : "You see your own key. "}
        With an admin key (<code>gw_admin_…</code>) you see and manage all keys. The owner of the
        gateway makes one with <code>featherwire keys create --admin admin</code>.
      </p>
      <button type="button" class="button" onClick={() => askForKey("administration", "")}>
        <Icon name="key" /> Enter an admin key
      </button>
    </div>
  );
}
