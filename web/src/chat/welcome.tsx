import { askForKey } from "../api/key";
import { liveUnits } from "../api/units";
import { Feather } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";

const EXAMPLES = [
  "Explain how a bird's feather lifts it, in three short paragraphs",
  "Write a Python function that finds the longest word of a text",
  "Compare tea and coffee in a table",
];

/** The first sight: what this is, and three ways to begin. */
export function Welcome({ onExample }: { onExample: (text: string) => void }) {
  const { state, problem } = liveUnits.value;
  return (
    <div class="welcome">
      <Feather />
      <h2>Ask any model of Featherless</h2>
      <p class="muted">
        One gateway, one fair queue for your units. Nothing of a conversation is kept on the server.
      </p>
      {state === "lost" && problem && (
        <ProblemCard problem={problem}>
          {problem.reason === "INVALID_API_KEY" && (
            <button type="button" class="button small" onClick={() => askForKey("calls", "")}>
              Enter a key
            </button>
          )}
        </ProblemCard>
      )}
      <ul>
        {EXAMPLES.map((text) => (
          <li>
            <button type="button" onClick={() => onExample(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
      <p class="welcome-keys muted">
        <span>
          <kbd>Ctrl</kbd> <kbd>K</kbd> models
        </span>
        <span>
          <kbd>Enter</kbd> send
        </span>
        <span>
          <kbd>Shift</kbd> <kbd>Enter</kbd> new line
        </span>
        <span>
          <kbd>Esc</kbd> stop
        </span>
      </p>
    </div>
  );
}
