//! Learns from upstream what the account's plan has and what others use of it, and tells the
//! permits.
//!
//! There are three sources: the feed, the snapshot that can be asked for, and the plan. All are
//! read in the same way. Only an explicit null means that there is no limit; what has no limit or
//! no units in use in a form that is known is ignored, and counted: what was known before counts
//! on.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{call::Call, feed::Feed};
use crate::{
    admission::{Permits, external_usage::ListedRequest},
    error::Result,
    proto::v1::{Concurrency, Plan},
    upstream::{Client, RequestOptions},
};

/// The waits before the feed is asked for again after it was lost: doubled each time, from the
/// first to the last.
const FEED_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long the feed may say nothing that is understood until the other sources are asked: at
/// first, for everybody waits for that, and later. It speaks every two seconds.
const SILENCE_MAX: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long a source may take to answer, and how long after asking for a snapshot the next may be
/// asked for.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(1);
const INQUIRY_PAUSE: Duration = Duration::from_millis(250);
const INQUIRY_PAUSE_FAILED: Duration = Duration::from_secs(10);

/// What upstream says of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// There is none.
    None,
    /// This many units.
    Units(u32),
}

impl Limit {
    /// What these fields say. None if it isn't told, or in a form that isn't known.
    fn read(number: Option<i32>, is_unlimited: bool) -> Option<Self> {
        match number {
            // A plan without units is none.
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

/// Learns for these permits.
#[derive(Debug)]
pub(super) struct Learning<'a> {
    upstream: &'a Client,
    permits: &'a Permits,
}

impl<'a> Learning<'a> {
    pub(super) fn new(upstream: &'a Client, permits: &'a Permits) -> Self {
        Self { upstream, permits }
    }

    /// Tells what the plan has, and all the time what others use of it. Ends when the feed does for
    /// good.
    pub(super) async fn listen(&self, feed: &Feed) {
        let (mut is_known, mut has_asked) = (false, false);
        let mut wait = FEED_WAITS.0;
        loop {
            let mut snapshots = feed.watch(Call::internal());
            let mut patience = if is_known {
                SILENCE_MAX.1
            } else {
                SILENCE_MAX.0
            };
            let mut heard_at = Instant::now();
            loop {
                match timeout_at(heard_at + patience, snapshots.next()).await {
                    Ok(Some(Ok(snapshot))) if self.tell(None, &snapshot) => {
                        (is_known, wait, patience, heard_at) =
                            (true, FEED_WAITS.0, SILENCE_MAX.1, Instant::now());
                    }
                    // Counted, and perhaps a beat between two snapshots. At first everybody waits
                    // to know.
                    Ok(Some(Ok(_))) if !is_known && !has_asked => {
                        has_asked = true;
                        is_known = self.ask_others(is_known).await;
                    }
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(error))) if error.is_draining() => return,
                    Ok(Some(Err(error))) => tracing::warn!(
                        code = error.code(),
                        retry_after = ?wait,
                        "the account's concurrency feed is lost; what it said last still counts \
                         for a while"
                    ),
                    Ok(None) => break,
                    Err(_) => {
                        is_known |= self.ask_others(is_known).await;
                        (patience, heard_at) = (SILENCE_MAX.1.max(wait), Instant::now());
                        wait = (wait * 2).min(FEED_WAITS.1);
                    }
                }
            }
            // Perhaps only the feed is out of order.
            is_known |= self.ask_others(is_known).await;
            sleep(wait).await;
            wait = (wait * 2).min(FEED_WAITS.1);
        }
    }

    /// Asks what others use, when the feed will say it too late: while they are about, our last
    /// units are not given away on old news.
    pub(super) async fn inquire(&self) {
        loop {
            self.permits.snapshot_wanted().await;
            let asked_at = Instant::now();
            // If there is no answer, the feed will tell.
            let pause = if self.ask_snapshot().await {
                INQUIRY_PAUSE
            } else {
                INQUIRY_PAUSE_FAILED
            };
            sleep_until(asked_at + pause).await;
        }
    }

    /// Asks the other sources than the feed. True if one of them told how many units there are.
    async fn ask_others(&self, is_known: bool) -> bool {
        if is_known {
            return self.ask_snapshot().await;
        }
        let (has_snapshot, has_plan) = tokio::join!(self.ask_snapshot(), self.ask_plan());
        let is_told = has_snapshot || has_plan;
        if !is_told {
            self.permits.set_plan_unknown();
        }
        is_told
    }

    /// Asks for a snapshot and tells it. False if there was none.
    async fn ask_snapshot(&self) -> bool {
        let asked_at = Instant::now();
        let snapshot: Result<_> = self
            .upstream
            .get_account(&["account", "concurrency"], ask(asked_at))
            .await;
        snapshot.is_ok_and(|reply| self.tell(Some(asked_at), &reply.answer))
    }

    /// Asks for the plan and tells its units. False if there are none in it.
    async fn ask_plan(&self) -> bool {
        let plan: Result<_> = self
            .upstream
            .get_with_key::<Plan>(&["plan"], ask(Instant::now()))
            .await;
        let Ok(reply) = plan else { return false };
        let limit = Limit::read(reply.answer.concurrency, reply.answer.unlimited_concurrency);
        match limit {
            Some(limit) => self.permits.set_capacity(limit.units()),
            None => self.permits.count_ignored_message(),
        }
        limit.is_some()
    }

    /// Tells a snapshot. False if it isn't understood, and was ignored.
    fn tell(&self, asked_at: Option<Instant>, snapshot: &Concurrency) -> bool {
        let limit = Limit::read(snapshot.limit, snapshot.unlimited);
        let used = snapshot.used_cost.and_then(|used| u32::try_from(used).ok());
        let (Some(limit), Some(used)) = (limit, used) else {
            self.permits.count_ignored_message();
            return false;
        };
        let requests: Vec<_> = snapshot
            .requests
            .iter()
            .map(|request| ListedRequest {
                model: request.model.as_deref().unwrap_or_default(),
                cost: request
                    .cost
                    .and_then(|cost| u32::try_from(cost).ok())
                    .unwrap_or_default(),
                duration: Duration::from_millis(
                    request
                        .duration_ms
                        .and_then(|ms| u64::try_from(ms).ok())
                        .unwrap_or_default(),
                ),
            })
            .collect();
        self.permits
            .apply_snapshot(asked_at, limit.units(), used, &requests)
    }
}

/// Everybody may be waiting for the answer.
fn ask(now: Instant) -> RequestOptions<'static> {
    RequestOptions {
        deadline: Some(now + INQUIRY_TIMEOUT),
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
