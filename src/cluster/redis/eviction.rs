//! Whether Redis may drop keys when its memory is full.

use super::open::field;
use crate::config::RedisUrl;

/// The policy that drops no key.
const KEEPS_ALL: &str = "noeviction";

/// A warning, by the answer to `INFO memory`. All keys of a cluster expire, so they may be dropped by
/// each other policy, also by those that drop only such keys.
pub(super) fn warning(url: &RedisUrl, information: &str) -> Option<String> {
    let limit: u64 = field(information, "maxmemory")?.parse().ok()?;
    let policy = field(information, "maxmemory_policy")?;
    let is_word = policy.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    if limit == 0 || policy == KEEPS_ALL || !is_word {
        return None;
    }
    Some(format!(
        "{url}: with its maxmemory-policy {policy} it may drop keys of the cluster when its memory is \
         full. Then calls wait for seconds, and limits for a minute begin again. Set its \
         maxmemory-policy to {KEEPS_ALL}, or use a Redis that has it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_with_a_limit_and_any_policy_but_one_is_a_warning() {
        let url: RedisUrl = "redis://:s3cr3t@h".parse().unwrap();
        let of = |limit: &str, policy: &str| {
            let policy = format!("maxmemory_policy:{policy}\r\n");
            let limits = format!("maxmemory:{limit}\r\nmaxmemory_human:x\r\n");
            warning(
                &url,
                &format!("# Memory\r\nused_memory:1\r\n{limits}{policy}"),
            )
        };
        for policy in [
            "allkeys-lru",
            "allkeys-random",
            "volatile-ttl",
            "volatile-lfu",
        ] {
            let told = of("1000000", policy).unwrap();
            assert!(told.contains(policy) && told.contains(KEEPS_ALL), "{told}");
            assert!(!told.contains("s3cr3t"), "{told}");
            assert_eq!(of("0", policy), None);
        }
        assert_eq!(of("1000000", KEEPS_ALL), None);
        assert_eq!(warning(&url, "# Memory\r\nused_memory:1\r\n"), None);
    }
}
