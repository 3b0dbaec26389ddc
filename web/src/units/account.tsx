import type { Concurrency } from "../gen/featherwire/v1/account_service_pb";
import { count } from "../ui/format";
import { cellsOf, describe, usesOf, type Cell, type Use, type Uses } from "./cells";
import { HistoryStrip } from "./history-strip";
import { colourOf } from "./slots";

/** More units than this have small cells, and more than the second are only a bar. */
const LARGE_CELLS_MAX = 16;
const CELLS_MAX = 400;

interface Props {
  picture: Concurrency;
  numbers: Map<string, number>;
  now: number;
}

/** The units of the account one by one, what they are used for, and the last two minutes. */
export function Account({ picture, numbers, now }: Props) {
  const uses = usesOf(picture);
  const used = uses.own + uses.settling + uses.outside;
  const cells = used + (uses.free ?? 0) <= CELLS_MAX ? cellsOf(picture, numbers) : [];
  return (
    <section class="card account" aria-labelledby="account-title">
      <h2 id="account-title" class="account-number">
        <strong>{count(used)}</strong>{" "}
        {uses.capacity === undefined ? "units in use" : `of ${count(uses.capacity)} units in use`}
      </h2>
      {uses.capacity === undefined && (
        <p class="muted small">
          {picture.unlimited || picture.gateway
            ? "The account has no limit of units: no call waits for units."
            : "Featherless does not tell the limit."}
        </p>
      )}
      <Cells cells={cells} uses={uses} />
      <UseBar uses={uses} />
      <Legend uses={uses} />
      {uses.outside > 0 && (
        <p class="muted small">
          Other processes use the same account. Featherless lists requests without telling who sent
          them{uses.own > 0 && ", so the cells of both look alike"}.
        </p>
      )}
      <HistoryStrip now={now} />
    </section>
  );
}

function Cells({ cells, uses }: { cells: Cell[]; uses: Uses }) {
  if (cells.length === 0) return null;
  const size = cells.length <= LARGE_CELLS_MAX ? "large" : "small";
  return (
    <div class="cells" data-size={size} role="img" aria-label={describe(uses)}>
      {cells.map(({ use, request, isJoined }, index) => (
        <i
          key={index}
          data-use={use}
          data-colour={request === undefined ? undefined : colourOf(request)}
          data-joined={isJoined || undefined}
        >
          {size === "large" && !isJoined && request}
        </i>
      ))}
    </div>
  );
}

const USES: { use: Use & keyof Uses; words: string }[] = [
  { use: "own", words: "This gateway" },
  { use: "settling", words: "Settling" },
  { use: "outside", words: "Other processes" },
  { use: "free", words: "Free" },
];

const HELP: Partial<Record<Use, string>> = {
  settling: "Units of cancelled calls, until Featherless has noticed",
};

/** The uses in proportion. */
function UseBar({ uses }: { uses: Uses }) {
  const parts = USES.filter(({ use }) => (uses[use] ?? 0) > 0);
  if (parts.length === 0) return null;
  return (
    <div class="use-bar" aria-hidden="true">
      {parts.map(({ use }) => (
        <i key={use} data-use={use} style={{ flexGrow: uses[use] }} />
      ))}
    </div>
  );
}

function Legend({ uses }: { uses: Uses }) {
  return (
    <dl class="legend">
      {USES.filter(({ use }) => uses[use] !== undefined).map(({ use, words }) => (
        <div key={use} title={HELP[use]} data-empty={uses[use] === 0 || undefined}>
          <dt>
            <i class="swatch" data-use={use} /> {words}
          </dt>
          <dd>{count(uses[use] ?? 0)}</dd>
        </div>
      ))}
    </dl>
  );
}
