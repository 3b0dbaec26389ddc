import { ClusterRole, type ClusterUnits } from "../gen/featherwire/v1/account_service_pb";
import { duration, several } from "../ui/format";

/** A leader tells of itself twice a second. After this time without a word, calls wait for a new one. */
const SILENT_MS = 1_500;

/** What the gateway of this page does in its cluster. */
export function ClusterLine({ cluster }: { cluster: ClusterUnits }) {
  const silent = Number(cluster.silentMs ?? 0n);
  const gateways = several(cluster.members, "gateway");
  switch (cluster.role) {
    case ClusterRole.LEADING:
      return <p class="muted small">The queue is that of {gateways}. This one leads them.</p>;
    case ClusterRole.ALONE:
      return (
        <p class="small" role="status">
          Redis does not answer: this gateway is alone, and uses only its share of the units.
        </p>
      );
    default:
      return silent < SILENT_MS ? (
        <p class="muted small">The queue is that of {gateways}. Another one leads them.</p>
      ) : (
        <p class="small" role="status">
          No word of the gateway that leads for {duration(silent)}: calls wait for another one.
        </p>
      );
  }
}
