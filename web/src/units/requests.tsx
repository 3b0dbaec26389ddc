import type { Concurrency } from "../gen/featherwire/v1/account_service_pb";
import { duration, several } from "../ui/format";
import { colourOf, idOf } from "./slots";

/** More rows than this are only counted. */
const ROWS_MAX = 50;

interface Props {
  picture: Concurrency;
  numbers: Map<string, number>;
  /** The time since the picture. */
  passedMs: number;
}

/** The requests that run now, with the colours of their cells. */
export function RequestTable({ picture, numbers, passedMs }: Props) {
  const requests = picture.requests.map((request, index) => ({
    request,
    number: numbers.get(idOf(request, index)) ?? 0,
  }));
  const more = requests.length - ROWS_MAX;
  return (
    <section class="card panel requests" aria-labelledby="requests-title">
      <h2 id="requests-title">Running requests</h2>
      {requests.length === 0 ? (
        <p class="empty">
          Nothing runs. <a href="#/chat">Start a chat</a> and look here again: each request takes
          the units of its model, and gives them back at its end.
        </p>
      ) : (
        <table class="table">
          <thead>
            <tr>
              <th scope="col">
                <span class="unseen">Number</span>
              </th>
              <th scope="col">Model</th>
              <th scope="col" class="right">
                Units
              </th>
              <th scope="col" class="right">
                Runs for
              </th>
            </tr>
          </thead>
          <tbody>
            {requests.slice(0, ROWS_MAX).map(({ request, number }) => (
              <tr key={number}>
                <td>
                  <i class="swatch numbered" data-colour={colourOf(number)}>
                    {number}
                  </i>
                </td>
                <td class="model-id">{request.model ?? "unknown"}</td>
                <td class="right numbers">{request.cost ?? "?"}</td>
                <td class="right numbers">
                  {request.durationMs === undefined
                    ? "?"
                    : duration(Number(request.durationMs) + passedMs)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {more > 0 && <p class="muted small">And {several(more, "more request")}.</p>}
    </section>
  );
}
