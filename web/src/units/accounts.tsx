import { type AccountUnits, CircuitState } from "../gen/featherwire/v1/account_service_pb";
import { count } from "../ui/format";

/** The accounts of a gateway that has several. */
export function AccountLines({ accounts }: { accounts: AccountUnits[] }) {
  if (accounts.length === 0) return null;
  return (
    <dl class="facts">
      {accounts.map((account) => (
        <div key={account.name}>
          <dt>Account {account.name}</dt>
          <dd class="numbers">{words(account)}</dd>
        </div>
      ))}
    </dl>
  );
}

function words({ gateway, refused, errorCode }: AccountUnits): string {
  const used = (gateway?.inUse ?? 0) + (gateway?.outside ?? 0) + (gateway?.settling ?? 0);
  const { interactive = 0, default: normal = 0, batch = 0 } = gateway?.queued ?? {};
  const units =
    gateway?.capacity === undefined ? `${count(used)} units` : `${count(used)} of ${count(gateway.capacity)}`;
  const waiting = interactive + normal + batch;
  const isRefused = refused === CircuitState.OPEN || refused === CircuitState.HALF_OPEN;
  return [units, waiting > 0 && `${count(waiting)} waiting`, isRefused && `refused: ${errorCode}`]
    .filter(Boolean)
    .join(", ");
}
