import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { keyOf } from "../api/key";
import { isCancelled, problemOf } from "../api/problem";
import { Announcer } from "../ui/announcer";
import { Boundary } from "../ui/boundary";
import { isComposing } from "../ui/composing";
import { Icon } from "../ui/icons";
import { view } from "../ui/route";
import { leave } from "./actions";
import { brokenChat } from "./broken";
import { Composer, dropPlace } from "./composer";
import { Conversation } from "./conversation";
import { EventsDrawer } from "./events-drawer";
import { fileProblem, Menu } from "./menu";
import { firstModel, partsOf } from "./models";
import { ModelButton, ModelSearch, searching } from "./model-picker";
import { runningCount, stopAll } from "./run";
import { SettingsPanel } from "./settings-panel";
import { SnippetDialog } from "./snippet-dialog";
import { draft, panes } from "./state";
import { restore } from "./storage";
import { Welcome } from "./welcome";

/** From this width on, the settings have a column of their own. */
const WIDE = matchMedia("(min-width: 1120px)");

const showsSettings = signal(WIDE.matches);

restore();

/** The view of the chat: one conversation, or two side by side. */
export function ChatView() {
  useEffect(chooseFirstModel, [keyOf("calls")]);
  useEffect(() => {
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  const shown = panes.value;
  const isEmpty = shown.every((pane) => pane.tree.value.roots.length === 0);
  return (
    <section
      class="chat"
      data-settings={showsSettings.value}
      data-panes={shown.length}
      {...dropPlace}
    >
      <h1 class="unseen">Chat</h1>
      <div class="chat-main">
        <div class="chat-bar">
          <div class="chat-models">
            {shown.map((pane, index) => (
              <div class="chat-model" key={pane.id}>
                <ModelButton pane={pane} index={index} />
                {shown.length > 1 && (
                  <button
                    type="button"
                    class="button quiet small round"
                    aria-label={`Close ${partsOf(pane.model.value)[1] || "this model"}`}
                    title="Leave the comparison"
                    onClick={() => leave(pane)}
                  >
                    <Icon name="close" />
                  </button>
                )}
              </div>
            ))}
          </div>
          <div class="chat-menu">
            <Menu />
            <button
              type="button"
              class="button quiet round"
              aria-label="Settings"
              title="Settings"
              aria-expanded={showsSettings.value}
              onClick={() => (showsSettings.value = !showsSettings.value)}
            >
              <Icon name="sliders" />
            </button>
          </div>
        </div>
        {fileProblem.value && (
          <p class="notice chat-notice" role="alert">
            {fileProblem.value}
          </p>
        )}
        <div class="panes">
          {isEmpty ? (
            <Welcome onExample={writePrompt} />
          ) : (
            shown.map((pane, index) => (
              <Boundary key={pane.id} instead={brokenChat}>
                <Conversation
                  pane={pane}
                  label={shown.length > 1 ? `Conversation ${index + 1}` : "Conversation"}
                />
              </Boundary>
            ))
          )}
        </div>
        <Boundary instead={brokenChat}>
          <Composer />
        </Boundary>
      </div>
      {showsSettings.value && (
        <Boundary instead={brokenChat}>
          <SettingsPanel onClose={() => (showsSettings.value = false)} />
        </Boundary>
      )}
      {[ModelSearch, EventsDrawer, SnippetDialog].map((Dialog, index) => (
        <Boundary key={index} instead={brokenChat}>
          <Dialog />
        </Boundary>
      ))}
      <Announcer />
    </section>
  );
}

function writePrompt(text: string): void {
  draft.value = text;
  document.getElementById("prompt")?.focus();
}

/** The first visit needs no search: a model is there, and a person can write. */
function chooseFirstModel(): void {
  const [pane] = panes.peek();
  if (!pane || pane.model.peek()) return;
  firstModel().then(
    (id) => {
      if (!pane.model.peek()) pane.model.value = id;
    },
    (error: unknown) => {
      // It asks for a key, if one is needed. Otherwise the search says what is wrong.
      if (!isCancelled(error)) problemOf(error);
    },
  );
}

function onKeyDown(event: KeyboardEvent): void {
  if (view.peek() !== "chat" || isComposing(event)) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    searching.value = panes.peek()[0] ?? null;
  }
  const isInDialog = document.querySelector("dialog[open]") !== null;
  if (event.key === "Escape" && !isInDialog && runningCount.peek() > 0) {
    event.preventDefault();
    stopAll();
  }
}
