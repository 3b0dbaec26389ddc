import { useEffect } from "preact/hooks";
import { watchUnits } from "../api/units";
import { brokenChat } from "../chat/broken";
import { ChatView } from "../chat/view";
import { KeysView } from "../keys/view";
import { UnitsView } from "../units/view";
import { Boundary, failed } from "./boundary";
import { Feather, Icon, type IconName } from "./icons";
import { KeyButton, KeyDialog } from "./key-dialog";
import { Meter } from "./meter";
import { view, type View } from "./route";

const TABS: { view: View; label: string; short: string; icon: IconName }[] = [
  { view: "chat", label: "Chat", short: "Chat", icon: "chat" },
  { view: "units", label: "Units", short: "Units", icon: "units" },
  { view: "keys", label: "Keys and usage", short: "Keys", icon: "key" },
];

/** The frame around the views. The chat stays alive behind the others: its streams go on. */
export function App() {
  useEffect(watchUnits, []);
  const shown = view.value;
  useEffect(() => {
    const tab = TABS.find((tab) => tab.view === shown);
    document.title = `${tab?.label ?? ""} · Featherwire`;
  }, [shown]);
  return (
    <>
      <header class="frame-top">
        <a class="skip" href={`#/${shown}`} onClick={focusMain}>
          Skip to the content
        </a>
        <a class="brand" href="#/chat" aria-label="Featherwire">
          <Feather />
          <span>Featherwire</span>
        </a>
        <nav class="tabs" aria-label="Views">
          {TABS.map((tab) => (
            <a href={`#/${tab.view}`} aria-current={shown === tab.view ? "page" : undefined}>
              <Icon name={tab.icon} />
              <span class="tab-long">{tab.label}</span>
              <span class="tab-short">{tab.short}</span>
            </a>
          ))}
        </nav>
        <div class="frame-right">
          <Boundary instead={() => null}>
            <Meter />
          </Boundary>
          <KeyButton />
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <div class="view" hidden={shown !== "chat"}>
          <Boundary instead={brokenChat}>
            <ChatView />
          </Boundary>
        </div>
        {shown === "units" && (
          <div class="view" tabIndex={0}>
            <Boundary instead={failed}>
              <UnitsView />
            </Boundary>
          </div>
        )}
        {shown === "keys" && (
          <div class="view" tabIndex={0}>
            <Boundary instead={failed}>
              <KeysView />
            </Boundary>
          </div>
        )}
      </main>
      <KeyDialog />
    </>
  );
}

function focusMain(event: Event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
