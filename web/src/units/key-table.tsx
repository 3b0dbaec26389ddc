import type { KeyUnits } from "../gen/featherwire/v1/account_service_pb";
import { count, duration } from "../ui/format";

/** More rows than this are only counted. */
const ROWS_MAX = 50;

/** The shares of the gateway keys that have asked for units. */
export function KeyTable({ keys }: { keys: KeyUnits[] }) {
  return (
    <section class="card panel" aria-labelledby="shares-title">
      <h2 id="shares-title">Shares by key</h2>
      {keys.length === 0 ? (
        <p class="empty">No key has asked for units since the gateway started.</p>
      ) : (
        <>
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col" class="right">
                  Weight
                </th>
                <th scope="col" class="right">
                  In use
                </th>
                <th scope="col" class="right">
                  Waiting
                </th>
                <th scope="col" class="right">
                  Unit time
                </th>
              </tr>
            </thead>
            <tbody>
              {keys.slice(0, ROWS_MAX).map((key) => (
                <tr key={key.key}>
                  <td>Key {key.key}</td>
                  <td class="right numbers">{count(key.weight)}</td>
                  <td class="right numbers">{count(key.inUse)}</td>
                  <td class="right numbers">{count(key.queued)}</td>
                  <td class="right numbers">{duration(key.unitSeconds * 1_000)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {keys.length > ROWS_MAX && (
            <p class="muted small">And {count(keys.length - ROWS_MAX)} more.</p>
          )}
          <p class="muted small">
            Keys have the numbers of the gateway's configuration, then those of the database.
            Without keys all callers are key 1. Unit time is units × time since the start of the
            gateway.
          </p>
        </>
      )}
    </section>
  );
}
