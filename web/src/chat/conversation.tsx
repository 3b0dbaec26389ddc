import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../ui/icons";
import { view } from "../ui/route";
import { AnswerView } from "./answer-view";
import { PromptView, ResultsView } from "./prompt-view";
import { answerOf, type Pane } from "./state";
import { pathOf } from "./tree";

/** How near to its end a conversation must be to follow a growing answer, in pixels. */
const NEAR_PX = 80;

/** The shown messages of a pane. It follows a growing answer until its reader scrolls up. */
export function Conversation({ pane, label }: { pane: Pane; label: string }) {
  const path = pathOf(pane.tree.value);
  const last = path.at(-1);
  const box = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [isAway, setAway] = useState(false);
  // Read for its changes: the text below grows with it.
  const growth = last?.role === "assistant" ? answerOf(last.id).value : null;
  const toEnd = () => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  };
  useLayoutEffect(() => {
    if (follows.current) toEnd();
    // A hidden element forgets where it was.
  }, [growth, last?.id, view.value]);
  useEffect(() => {
    follows.current = true;
    toEnd();
  }, [path.length]);
  return (
    <div class="conversation-frame">
      <div
        ref={box}
        class="conversation"
        role="region"
        aria-label={label}
        tabIndex={0}
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
          const isNear = scrollHeight - scrollTop - clientHeight < NEAR_PX;
          follows.current = isNear;
          setAway(!isNear);
        }}
      >
        <div class="conversation-column">
          {path.map((node) => {
            if (node.role === "user") return <PromptView key={node.id} pane={pane} node={node} />;
            if (node.role === "tool") return <ResultsView key={node.id} node={node} />;
            return <AnswerView key={node.id} pane={pane} node={node} />;
          })}
        </div>
      </div>
      {isAway && (
        <button
          type="button"
          class="button to-end"
          aria-label="To the end of the conversation"
          onClick={() => {
            follows.current = true;
            toEnd();
          }}
        >
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}
