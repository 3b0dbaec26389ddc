//! The cluster of gateways, in words.

use super::plain::seconds;
use crate::proto::v1::{ClusterRole, ClusterUnits};

/// A leader tells of itself twice a second. After this time without a word, calls seem to wait for
/// a new one, in milliseconds.
const SILENT_MS: i64 = 1_500;

/// What this gateway does, such as `leads 4 gateways`.
pub(super) fn words(cluster: &ClusterUnits) -> String {
    let members = cluster.members;
    let gateways = if members == 1 { "gateway" } else { "gateways" };
    match cluster.role() {
        ClusterRole::Leading => format!("leads {members} {gateways}"),
        ClusterRole::Following => match cluster.silent_ms {
            Some(silent @ SILENT_MS..) => format!(
                "one of {members} {gateways}, no leader for {}",
                seconds(Some(silent))
            ),
            _ => format!("one of {members} {gateways}"),
        },
        ClusterRole::Alone => "alone: Redis does not answer, only its share is used".to_owned(),
        ClusterRole::Unspecified => "unknown".to_owned(),
    }
}

/// Whether something is wrong with it.
pub(super) fn is_bad(cluster: &ClusterUnits) -> bool {
    cluster.role() == ClusterRole::Alone || cluster.silent_ms >= Some(SILENT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(role: ClusterRole, members: i32, silent_ms: Option<i64>) -> ClusterUnits {
        ClusterUnits {
            role: role.into(),
            members,
            silent_ms,
            ..ClusterUnits::default()
        }
    }

    #[test]
    fn a_gateway_tells_whether_it_leads_follows_or_is_alone() {
        let good = |role, members, silent_ms, expected: &str| {
            let cluster = cluster(role, members, silent_ms);
            assert_eq!((&*words(&cluster), is_bad(&cluster)), (expected, false));
        };
        good(ClusterRole::Leading, 1, None, "leads 1 gateway");
        good(ClusterRole::Following, 4, Some(400), "one of 4 gateways");
        let silent = cluster(ClusterRole::Following, 4, Some(2_000));
        assert_eq!(words(&silent), "one of 4 gateways, no leader for 2.0 s");
        let alone = cluster(ClusterRole::Alone, 4, None);
        assert!(words(&alone).starts_with("alone") && is_bad(&alone) && is_bad(&silent));
    }
}
