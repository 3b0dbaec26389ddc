import { CircuitState, type ModelCircuit } from "../gen/featherwire/v1/account_service_pb";
import { duration, several } from "../ui/format";

const STATES: Record<CircuitState, { words: string; tone?: string }> = {
  [CircuitState.UNSPECIFIED]: { words: "Unknown" },
  [CircuitState.CLOSED]: { words: "In use" },
  [CircuitState.OPEN]: { words: "Rests", tone: "bad" },
  [CircuitState.HALF_OPEN]: { words: "Being probed", tone: "warn" },
};

interface Props {
  circuits: ModelCircuit[];
  passedMs: number;
}

/** The models that have failed recently, and when a resting one is tried again. */
export function CircuitList({ circuits, passedMs }: Props) {
  return (
    <section class="card panel" aria-labelledby="circuits-title">
      <h2 id="circuits-title">Circuits</h2>
      {circuits.length === 0 ? (
        <p class="empty">
          No model has failed in the last minute. A model that fails several times in a row rests
          for a while, and its calls go to their fallbacks.
        </p>
      ) : (
        <ul class="circuits">
          {circuits.map((circuit) => (
            <li key={circuit.model}>
              <span class="model-id">{circuit.model}</span>
              <span class="chip" data-tone={STATES[circuit.state]?.tone}>
                {STATES[circuit.state]?.words ?? "Unknown"}
              </span>
              <span class="muted small">
                {several(circuit.failures, "failure")} in a row, the last:{" "}
                <code>{circuit.errorCode}</code>
                {circuit.openForMs !== undefined &&
                  `. ${probe(Number(circuit.openForMs) - passedMs)}`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function probe(leftMs: number): string {
  return leftMs > 0 ? `Tried again in ${duration(leftMs)}` : "The next call tries it again";
}
