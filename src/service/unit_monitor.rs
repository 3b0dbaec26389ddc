//! Watches upstream's view of the account's units and passes it to the permits: the units of the
//! plan, and the requests in flight.
//!
//! There are three sources: the feed, the snapshot on request, and the plan. All are read in the
//! same way. Only an explicit null means that there is no limit. A message that does not name a
//! limit and the units in use in a known form is ignored and counted, and the earlier values stay.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{call::Call, feed::Feed};
use crate::{
    admission::{Permits, external_usage::ListedRequest},
    clock,
    error::Result,
    proto::v1::{ActiveRequest, Concurrency, Plan},
    upstream::{Client, RequestOptions},
};

/// The first and the longest backoff before the feed is opened again after it was lost. It doubles
/// each time.
const FEED_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long the feed may be silent until the other sources are asked. It sends a snapshot every two
/// seconds. Before the first one all requests wait for the plan, so that time is shorter.
const SILENCE_MAX_AT_FIRST: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long the other sources may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The shortest time between two requested snapshots, and after one that failed.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(250);
const SNAPSHOT_INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The limit that a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// There is no limit.
    None,
    /// This many units.
    Units(u32),
}

impl Limit {
    /// Reads a limit from its two fields. `None` if it is missing, or its form is unknown.
    fn read(number: Option<i32>, is_unlimited: bool) -> Option<Self> {
        match number {
            // A plan of 0 units or less cannot be.
            Some(number) => u32::try_from(number)
                .ok()
                .filter(|units| *units > 0)
                .map(Self::Units),
            None => is_unlimited.then_some(Self::None),
        }
    }

    fn units(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Units(units) => Some(units),
        }
    }
}

/// Passes upstream's messages about units to `permits`.
#[derive(Debug)]
pub(super) struct UnitMonitor<'a> {
    upstream: &'a Client,
    permits: &'a Permits,
}

impl<'a> UnitMonitor<'a> {
    pub(super) fn new(upstream: &'a Client, permits: &'a Permits) -> Self {
        Self { upstream, permits }
    }

    /// Follows the feed, and asks the other sources while it is silent. Completes when the feed
    /// ends because the gateway drains.
    pub(super) async fn follow_feed(&self, feed: &Feed) {
        let (mut is_limit_known, mut has_asked_others) = (false, false);
        let mut backoff = FEED_BACKOFF.0;
        loop {
            let mut snapshots = feed.watch(Call::internal());
            let mut silence_max = if is_limit_known {
                SILENCE_MAX
            } else {
                SILENCE_MAX_AT_FIRST
            };
            let mut heard_at = Instant::now();
            loop {
                match timeout_at(heard_at + silence_max, snapshots.next()).await {
                    Ok(Some(Ok((_, snapshot)))) if self.apply_snapshot(None, &snapshot.message) => {
                        (is_limit_known, backoff) = (true, FEED_BACKOFF.0);
                        (silence_max, heard_at) = (SILENCE_MAX, Instant::now());
                    }
                    // The message was ignored. It may be a heartbeat between two snapshots. But
                    // until the limit is known, all requests wait for it.
                    Ok(Some(Ok(_))) if !is_limit_known && !has_asked_others => {
                        has_asked_others = true;
                        is_limit_known = self.ask_other_sources(is_limit_known).await;
                    }
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(error))) if error.is_draining() => return,
                    Ok(Some(Err(error))) => tracing::warn!(
                        account = self.permits.account(),
                        code = error.code(),
                        retry_after_ms = clock::milliseconds(backoff),
                        "the account's concurrency feed is lost; its last snapshot still applies \
                         for a while"
                    ),
                    Ok(None) => break,
                    Err(_) => {
                        is_limit_known |= self.ask_other_sources(is_limit_known).await;
                        (silence_max, heard_at) = (SILENCE_MAX.max(backoff), Instant::now());
                        backoff = (backoff * 2).min(FEED_BACKOFF.1);
                    }
                }
            }
            // Perhaps only the feed fails.
            is_limit_known |= self.ask_other_sources(is_limit_known).await;
            sleep(backoff).await;
            backoff = (backoff * 2).min(FEED_BACKOFF.1);
        }
    }

    /// Requests a snapshot when the permits want one and the feed's next one would be too late:
    /// while other processes use the account, the last units are not given out on old knowledge.
    pub(super) async fn request_wanted_snapshots(&self) {
        loop {
            self.permits.snapshot_wanted().await;
            let requested_at = Instant::now();
            // If it fails, the feed's next snapshot is used.
            let interval = if self.request_snapshot().await {
                SNAPSHOT_INTERVAL
            } else {
                SNAPSHOT_INTERVAL_AFTER_FAILURE
            };
            sleep_until(requested_at + interval).await;
        }
    }

    /// Asks the sources other than the feed. Returns `true` if one of them named a limit.
    async fn ask_other_sources(&self, is_limit_known: bool) -> bool {
        if is_limit_known {
            return self.request_snapshot().await;
        }
        let (by_snapshot, by_plan) = tokio::join!(self.request_snapshot(), self.request_plan());
        let is_limit_known = by_snapshot || by_plan;
        if !is_limit_known {
            self.permits.set_plan_unknown();
        }
        is_limit_known
    }

    /// Requests a snapshot and applies it. Returns `false` if there is none, or it was ignored.
    async fn request_snapshot(&self) -> bool {
        let requested_at = Instant::now();
        let snapshot: Result<_> = self
            .upstream
            .get_account(&["account", "concurrency"], with_timeout(requested_at))
            .await;
        snapshot.is_ok_and(|reply| self.apply_snapshot(Some(requested_at), &reply.answer))
    }

    /// Requests the plan and applies its limit. Returns `false` if it names none.
    async fn request_plan(&self) -> bool {
        let plan: Result<_> = self
            .upstream
            .get_with_key::<Plan>(&["plan"], with_timeout(Instant::now()))
            .await;
        let Ok(reply) = plan else { return false };
        let limit = Limit::read(reply.answer.concurrency, reply.answer.unlimited_concurrency);
        match limit {
            Some(limit) => self.permits.set_capacity(limit.units()),
            None => self.permits.count_ignored_message(),
        }
        limit.is_some()
    }

    /// Passes a snapshot to the permits. Returns `false` if it was ignored.
    fn apply_snapshot(&self, requested_at: Option<Instant>, snapshot: &Concurrency) -> bool {
        let limit = Limit::read(snapshot.limit, snapshot.unlimited);
        let used = snapshot.used_cost.and_then(|used| u32::try_from(used).ok());
        let (Some(limit), Some(used)) = (limit, used) else {
            self.permits.count_ignored_message();
            return false;
        };
        let requests: Vec<_> = snapshot.requests.iter().map(listed).collect();
        self.permits
            .apply_snapshot(requested_at, limit.units(), used, &requests)
    }
}

/// A request of a snapshot, for the permits.
pub(super) fn listed(request: &ActiveRequest) -> ListedRequest<'_> {
    let cost = request.cost.and_then(|cost| u32::try_from(cost).ok());
    let ms = request.duration_ms.and_then(|ms| u64::try_from(ms).ok());
    ListedRequest {
        model: request.model.as_deref().unwrap_or_default(),
        cost: cost.unwrap_or_default(),
        duration: Duration::from_millis(ms.unwrap_or_default()),
    }
}

/// A short deadline, because all requests may be waiting for the answer.
fn with_timeout(now: Instant) -> RequestOptions<'static> {
    RequestOptions {
        deadline: Some(now + REQUEST_TIMEOUT),
        ..RequestOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn only_an_explicit_null_means_no_limit() {
        let read = |member: &str| {
            let snapshot: Concurrency =
                json::decode_answer(format!("{{{member}}}").as_bytes()).unwrap();
            Limit::read(snapshot.limit, snapshot.unlimited)
        };
        assert_eq!(read("\"limit\": null"), Some(Limit::None));
        assert_eq!(read("\"limit\": 4"), Some(Limit::Units(4)));
        assert_eq!(
            read("\"limit\": 4.0"),
            Some(Limit::Units(4)),
            "an integer, however it is written"
        );
        for odd in [
            "",
            "\"limit\": \"4\"",
            "\"limit\": 4.5",
            "\"limit\": 99999999999",
            "\"limit\": -1",
            "\"limit\": 0",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
        assert_eq!(
            read("\"limit\": null, \"limit\": 4"),
            Some(Limit::Units(4)),
            "the last one counts"
        );
        assert_eq!(read("\"limit\": 4, \"limit\": null"), Some(Limit::None));
    }
}
