//! Adds up what several accounts say about their units.

use std::collections::BTreeMap;

use crate::proto::v1::{
    ClusterRole, ClusterUnits, Concurrency, GatewayUnits, KeyUnits, QueuedByPriority,
};

/// More circuits than this are not listed. Callers choose the ids of models, so there can be many.
pub(super) const CIRCUITS_LISTED_MAX: usize = 100;

/// The units of all accounts together: numbers are sums, and waits those of the account in which
/// they are longest. What one account does not tell is left out.
pub(super) fn sum(accounts: impl IntoIterator<Item = Concurrency>) -> Concurrency {
    let mut accounts = accounts.into_iter();
    let Some(mut sum) = accounts.next() else {
        return Concurrency::default();
    };
    for account in accounts {
        let is_unlimited = sum.unlimited || account.unlimited;
        sum.unlimited = is_unlimited;
        sum.limit = added(sum.limit, account.limit).filter(|_| !is_unlimited);
        sum.used_cost = known(sum.used_cost, account.used_cost);
        sum.request_count = known(sum.request_count, account.request_count);
        sum.requests.extend(account.requests);
        if let (Some(sum), Some(gateway)) = (&mut sum.gateway, account.gateway) {
            add(sum, gateway);
        }
    }
    sum
}

fn add(sum: &mut GatewayUnits, account: GatewayUnits) {
    let GatewayUnits {
        capacity,
        outside,
        in_use,
        settling,
        running,
        queued,
        oldest_wait_ms,
        wait_p50_ms,
        wait_p99_ms,
        keys,
        refusals,
        odd_messages,
        circuits,
        cluster,
        extra: _,
    } = account;
    sum.capacity = added(sum.capacity, capacity);
    sum.outside = sum.outside.saturating_add(outside);
    sum.in_use = sum.in_use.saturating_add(in_use);
    sum.settling = sum.settling.saturating_add(settling);
    sum.running = sum.running.saturating_add(running);
    let QueuedByPriority {
        interactive,
        default,
        batch,
        ..
    } = queued.unwrap_or_default();
    let queued = sum.queued.get_or_insert_default();
    queued.interactive = queued.interactive.saturating_add(interactive);
    queued.default = queued.default.saturating_add(default);
    queued.batch = queued.batch.saturating_add(batch);
    // `None` is less than any number.
    sum.oldest_wait_ms = sum.oldest_wait_ms.max(oldest_wait_ms);
    sum.wait_p50_ms = sum.wait_p50_ms.max(wait_p50_ms);
    sum.wait_p99_ms = sum.wait_p99_ms.max(wait_p99_ms);
    sum.refusals = sum.refusals.saturating_add(refusals);
    sum.odd_messages = sum.odd_messages.saturating_add(odd_messages);
    let before = std::mem::take(&mut sum.keys);
    let mut by_key: BTreeMap<i32, KeyUnits> =
        before.into_iter().map(|key| (key.key, key)).collect();
    for key in keys {
        let of_key = by_key.entry(key.key).or_insert_with(|| KeyUnits {
            key: key.key,
            ..KeyUnits::default()
        });
        of_key.weight = key.weight;
        of_key.in_use = of_key.in_use.saturating_add(key.in_use);
        of_key.queued = of_key.queued.saturating_add(key.queued);
        of_key.unit_seconds += key.unit_seconds;
    }
    sum.keys = by_key.into_values().collect();
    // Each account has a leader of its own. What is worst is told.
    if let Some(cluster) = cluster
        && (cluster.role() == ClusterRole::Alone
            || sum.cluster.as_ref().map(ClusterUnits::role) != Some(ClusterRole::Alone)
                && cluster.silent_ms > sum.cluster.as_ref().and_then(|sum| sum.silent_ms))
    {
        sum.cluster = Some(cluster);
    }
    sum.circuits.extend(circuits);
    sum.circuits.truncate(CIRCUITS_LISTED_MAX);
}

/// The sum, if both are known.
fn added(one: Option<i32>, other: Option<i32>) -> Option<i32> {
    Some(one?.saturating_add(other?))
}

/// The sum of what is known.
fn known(one: Option<i32>, other: Option<i32>) -> Option<i32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limit: Option<i32>, in_use: i32, oldest_wait_ms: Option<i64>) -> Concurrency {
        Concurrency {
            limit,
            unlimited: limit.is_none(),
            used_cost: Some(in_use),
            gateway: Some(GatewayUnits {
                capacity: limit,
                in_use,
                oldest_wait_ms,
                keys: vec![KeyUnits {
                    key: in_use.min(2),
                    in_use,
                    ..KeyUnits::default()
                }],
                ..GatewayUnits::default()
            }),
            ..Concurrency::default()
        }
    }

    #[test]
    fn units_are_added_and_the_longest_wait_counts() {
        let all = sum([account(Some(4), 1, None), account(Some(8), 2, Some(70))]);
        assert_eq!((all.limit, all.used_cost), (Some(12), Some(3)));
        let gateway = all.gateway.unwrap();
        assert_eq!((gateway.capacity, gateway.in_use), (Some(12), 3));
        assert_eq!(gateway.oldest_wait_ms, Some(70));
        assert_eq!(gateway.keys.len(), 2);
        let all = sum([account(Some(4), 2, Some(9)), account(None, 2, Some(7))]);
        assert_eq!((all.limit, all.unlimited), (None, true));
        let gateway = all.gateway.unwrap();
        assert_eq!((gateway.capacity, gateway.oldest_wait_ms), (None, Some(9)));
        assert_eq!((gateway.keys.len(), gateway.keys[0].in_use), (1, 4));
    }
}
