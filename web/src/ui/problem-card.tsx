import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Problem } from "../api/problem";
import { Icon } from "./icons";

interface Props {
  problem: Problem;
  onRetry?: () => void;
  children?: ComponentChildren;
}

/** An error in words: what happened, what to do, and when the next try can succeed. */
export function ProblemCard({ problem, onRetry, children }: Props) {
  const seconds = useSecondsUntil(problem.retryAt);
  return (
    <div class="problem" role="alert">
      <Icon name="warning" />
      <div class="problem-body">
        <strong>{problem.title}</strong>
        {problem.text && <p class="problem-text">{problem.text}</p>}
        {problem.fields.length > 0 && (
          <ul>
            {problem.fields.map(({ field, text }) => (
              <li>
                <code>{field}</code> {text}
              </li>
            ))}
          </ul>
        )}
        {problem.advice && <p>{problem.advice}</p>}
        {problem.links.filter(isWeb).map(({ text, url }) => (
          <p>
            <a href={url} target="_blank" rel="noreferrer noopener">
              {text.charAt(0).toUpperCase() + text.slice(1)}
            </a>
          </p>
        ))}
        {(onRetry || children) && (
          <div class="problem-buttons">
            {onRetry && problem.canRetry && (
              <button type="button" class="button small" onClick={onRetry}>
                <Icon name="retry" /> Try again{seconds > 0 && ` (best in ${duration(seconds)})`}
              </button>
            )}
            {children}
          </div>
        )}
        <p class="problem-reason">{problem.reason}</p>
      </div>
    </div>
  );
}

/** Errors of an imported conversation come from a file. */
function isWeb({ url }: { url: string }): boolean {
  return /^https?:/.test(url);
}

/** Whole seconds until a moment, counted down to 0. */
function useSecondsUntil(at: number | undefined): number {
  const left = () => (at === undefined ? 0 : Math.max(0, Math.ceil((at - Date.now()) / 1000)));
  const [seconds, setSeconds] = useState(left);
  useEffect(() => {
    setSeconds(left());
    if (at === undefined) return;
    const timer = setInterval(() => {
      setSeconds(left());
      if (left() === 0) clearInterval(timer);
    }, 500);
    return () => clearInterval(timer);
  }, [at]);
  return seconds;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
