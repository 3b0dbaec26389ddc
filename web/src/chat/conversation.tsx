import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Boundary } from "../ui/boundary";
import { Icon } from "../ui/icons";
import { view } from "../ui/route";
import { AnswerView } from "./answer-view";
import { PlainMessage } from "./broken";
import { PromptView, ResultsView } from "./prompt-view";
import { answerOf, type Pane } from "./state";
import { pathOf } from "./tree";
import type { Node } from "./types";

/** How near to its end a conversation must be to follow a growing answer, in pixels. */
const NEAR_PX = 80;

function Message({ pane, node }: { pane: Pane; node: Node }) {
  if (node.role === "user") return <PromptView pane={pane} node={node} />;
  if (node.role === "tool") return <ResultsView node={node} />;
  return <AnswerView pane={pane} node={node} />;
}

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
          {path.map((node) => (
            <Boundary
              key={node.id}
              instead={(message) => <PlainMessage node={node} message={message} />}
            >
              <Message pane={pane} node={node} />
            </Boundary>
          ))}
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
