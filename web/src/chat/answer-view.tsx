import { useMemo, useState } from "preact/hooks";
import { CopyButton } from "../ui/copy-button";
import { Fold } from "../ui/fold";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { answerCalls, retry } from "./actions";
import { CodeBlock } from "./code-block";
import { openEvents } from "./events-drawer";
import { Markdown } from "./markdown";
import { partsOf } from "./models";
import { stop } from "./run";
import { checkAnswer, isUnchecked, withoutFence } from "./schema";
import { answerOf, isOpen, type Pane } from "./state";
import { Stats } from "./stats";
import { Switch } from "./switch";
import type { Answer, AnswerNode } from "./types";

/** An answer: its thoughts, its text, its calls, how it ended, and its numbers. */
export function AnswerView({ pane, node }: { pane: Pane; node: AnswerNode }) {
  const answer = answerOf(node.id).value;
  const [thought, text] = split(answer);
  const isGrowing = isOpen(answer);
  const [, name] = partsOf(answer.model);
  const isJson = answer.schema !== undefined && !isGrowing && text !== "";
  const json = isJson ? pretty(withoutFence(text)) : undefined;
  return (
    <article class="answer" aria-label={`Answer of ${name}`} data-state={answer.state}>
      <header class="answer-head">
        <h2>{name}</h2>
        {answer.report && answer.report.tried.length > 0 && (
          <span class="chip" data-tone="warn">
            in place of {answer.report.tried.map(({ model }) => partsOf(model)[1]).join(", ")}
          </span>
        )}
        <State answer={answer} />
      </header>
      {thought && (
        <Fold
          icon="thought"
          title={isGrowing && !text ? "Thinking" : "Thoughts"}
          note={`${words(thought)} words`}
        >
          <div class="thought">
            <Markdown text={thought} isGrowing={isGrowing} />
          </div>
        </Fold>
      )}
      {json !== undefined ? (
        <CodeBlock text={json} language="json" />
      ) : (
        text && <Markdown text={text} isGrowing={isGrowing} />
      )}
      {answer.refusal && <p class="notice">{answer.refusal}</p>}
      {isGrowing && !text && !thought && !answer.refusal && answer.calls.length === 0 && (
        <p class="typing" aria-hidden="true">
          <i />
          <i />
          <i />
        </p>
      )}
      {isJson && <SchemaResult text={text} schema={answer.schema ?? ""} />}
      {answer.calls.length > 0 && <Calls pane={pane} node={node} answer={answer} />}
      {answer.problem && <ProblemCard problem={answer.problem} onRetry={() => retry(pane, node)} />}
      <footer class="answer-foot">
        <Stats answer={answer} />
        <div class="answer-tools">
          <Switch pane={pane} node={node} />
          {isGrowing ? (
            <button type="button" class="button quiet small" onClick={() => stop(node.id)}>
              <Icon name="stop" /> Stop
            </button>
          ) : (
            <>
              <button
                type="button"
                class="button quiet small round"
                aria-label="Another answer"
                title="Another answer"
                onClick={() => retry(pane, node)}
              >
                <Icon name="retry" />
              </button>
              <CopyButton text={() => text} label="Copy the answer" />
            </>
          )}
          <button
            type="button"
            class="button quiet small round"
            aria-label="Raw events"
            title="Raw events"
            onClick={() => openEvents(node.id)}
          >
            <Icon name="events" />
          </button>
        </div>
      </footer>
    </article>
  );
}

/** How an answer ended, if that is not the usual end. */
function State({ answer }: { answer: Answer }) {
  if (answer.state === "stopped") return <span class="chip">stopped by you</span>;
  if (answer.state === "cut") {
    return (
      <span class="chip" data-tone="bad">
        cut: not complete
      </span>
    );
  }
  if (answer.state !== "done" || !answer.finishReason) return null;
  if (answer.finishReason === "length") {
    return (
      <span class="chip" data-tone="warn">
        ended at the limit of tokens
      </span>
    );
  }
  const isUsual = ["stop", "tool_calls", "eos", "end_turn"].includes(answer.finishReason);
  return isUsual ? null : <span class="chip">{answer.finishReason}</span>;
}

/** The thoughts and the text. Some engines send the thoughts as a tag in the text. */
function split(answer: Answer): [string, string] {
  const content = markdownOf(answer);
  const inline = /^\s*<think>([\s\S]*?)(?:<\/think>\s*([\s\S]*)|$)/.exec(content);
  if (!inline) return [answer.reasoning, content];
  return [answer.reasoning + (inline[1] ?? ""), inline[2] ?? ""];
}

/** Images that a model made become Markdown for the eye. */
function markdownOf({ content, parts }: Answer): string {
  if (!parts) return content;
  return parts
    .map((part) => (part.type === "text" ? part.text : `\n\n![image](${part.url})\n\n`))
    .join("");
}

function words(text: string): number {
  return text.split(/\s+/).filter(Boolean).length;
}

/** JSON with a line for each member, unless it is no JSON or is nested too deeply. */
function pretty(text: string): string | undefined {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return undefined;
  }
}

function SchemaResult({ text, schema }: { text: string; schema: string }) {
  // The check can be work, and the page is drawn often.
  const violations = useMemo(() => checkAnswer(text, schema), [text, schema]);
  const kind = isUnchecked(violations) ? "Not checked" : "Not valid";
  if (violations.length === 0) {
    return (
      <p class="schema-result" data-tone="good">
        <Icon name="check" /> Valid by the JSON Schema
      </p>
    );
  }
  return (
    <div class="schema-result" data-tone="bad">
      <p>
        <Icon name="warning" /> {kind} by the JSON Schema
      </p>
      <ul>
        {violations.map(({ path, text }) => (
          <li>
            <code>{path}</code> {text}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The tool calls of an answer, and a place for their results. */
function Calls({ pane, node, answer }: { pane: Pane; node: AnswerNode; answer: Answer }) {
  const [results, setResults] = useState<string[]>([]);
  const isAnswered = node.children.length > 0;
  const canAnswer = answer.state === "done" && !isAnswered;
  return (
    <div class="calls">
      {answer.calls.map((call, index) => (
        <Fold icon="tool" title={call.name || "Tool call"} note={summary(call.arguments)}>
          {call.kind === "custom" ? (
            <CodeBlock text={call.arguments} language="text" />
          ) : (
            <CodeBlock text={pretty(call.arguments) ?? call.arguments} language="json" />
          )}
          {canAnswer && (
            <label class="field">
              <span>Result of {call.name}</span>
              <textarea
                rows={2}
                value={results[index] ?? ""}
                placeholder='{"temperature": 21}'
                onInput={({ currentTarget: { value } }) => {
                  const next = answer.calls.map((_, at) => results[at] ?? "");
                  next[index] = value;
                  setResults(next);
                }}
              />
            </label>
          )}
        </Fold>
      ))}
      {canAnswer && (
        <button
          type="button"
          class="button small"
          disabled={!answer.calls.every((_, index) => results[index]?.trim())}
          onClick={() => answerCalls(pane, node, results)}
        >
          Send the {answer.calls.length === 1 ? "result" : "results"}
        </button>
      )}
    </div>
  );
}

function summary(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
