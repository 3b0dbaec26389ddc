//! The accounts of a gateway that has several, in words.

use std::time::Duration;

use super::{circuits, plain::waiting};
use crate::proto::v1::{AccountUnits, CircuitState, ModelCircuit};

/// How an account is used, such as `3 of 8 units, 2 waiting`. `age` is the time since the gateway
/// has told it.
pub(super) fn words(account: &AccountUnits, age: Duration) -> String {
    let gateway = account.gateway.clone().unwrap_or_default();
    let used = gateway.in_use.saturating_add(gateway.outside);
    let used = used.saturating_add(gateway.settling);
    let used = match gateway.capacity {
        Some(capacity) => format!("{used} of {capacity} units"),
        None => format!("{used} units, no limit"),
    };
    let waiting = format!("{used}, {} waiting", waiting(&gateway));
    if !is_refused(account) {
        return waiting;
    }
    let circuit = ModelCircuit {
        state: account.refused,
        open_for_ms: account.open_for_ms,
        ..ModelCircuit::default()
    };
    let (code, outlook) = (&account.error_code, circuits::outlook(&circuit, age));
    format!("{waiting}, refused ({code}, {outlook})")
}

/// Whether its upstream refuses it.
pub(super) fn is_refused(account: &AccountUnits) -> bool {
    matches!(
        account.refused(),
        CircuitState::Open | CircuitState::HalfOpen
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{GatewayUnits, QueuedByPriority};

    #[test]
    fn an_account_tells_its_units_and_whether_it_is_refused() {
        let mut account = AccountUnits {
            name: "main".to_owned(),
            gateway: Some(GatewayUnits {
                capacity: Some(8),
                in_use: 3,
                outside: 1,
                queued: Some(QueuedByPriority {
                    default: 2,
                    ..QueuedByPriority::default()
                }),
                ..GatewayUnits::default()
            }),
            ..AccountUnits::default()
        };
        let told = |account: &AccountUnits| words(account, Duration::from_secs(1));
        assert_eq!(told(&account), "4 of 8 units, 2 waiting");
        account.set_refused(CircuitState::Open);
        account.error_code = "payment_required".to_owned();
        account.open_for_ms = Some(9_000);
        assert!(is_refused(&account));
        assert_eq!(
            told(&account),
            "4 of 8 units, 2 waiting, refused (payment_required, rests for 8.0 s)"
        );
        account.gateway = None;
        account.set_refused(CircuitState::Unspecified);
        assert_eq!(told(&account), "0 units, no limit, 0 waiting");
    }
}
