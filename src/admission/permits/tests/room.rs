//! Free units that no request waits for.

use std::{pin::pin, sync::Arc};

use futures_util::{FutureExt as _, poll};

use super::*;

#[tokio::test(start_paused = true)]
async fn one_at_a_time_hears_of_free_units_and_may_pass_the_news_on() {
    let permits = permits(1);
    let held = acquire(&permits, 1).await.unwrap();
    while permits.room().now_or_never().is_some() {}
    let (mut first, mut second) = (pin!(permits.room()), pin!(permits.room()));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    held.finish();
    assert!(poll!(&mut first).is_ready());
    assert!(poll!(&mut second).is_pending());
    permits.pass_room_on();
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test(start_paused = true)]
async fn units_are_taken_at_once_or_not_at_all_and_not_before_those_that_wait_here() {
    let permits = permits(2);
    let since = Instant::now();
    let take = |cost| permits.try_acquire(&Arc::from(MODEL), request(cost), since);
    let held = take(1).unwrap();
    assert!(take(2).is_none());
    assert_eq!(permits.status().queued.default, 0, "it does not wait");
    let mut waiting = pin!(acquire(&permits, 2));
    assert!(poll!(&mut waiting).is_pending());
    assert!(take(1).is_none(), "another request waits here");
    held.finish();
    let waited = waiting.await.unwrap();
    assert!(take(1).is_none());
    waited.finish();
    assert!(take(2).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_wanted_if_only_headroom_is_in_the_way() {
    let permits = permits(2);
    let external = [ListedRequest {
        model: "x/y",
        cost: 1,
        duration: Duration::from_secs(60),
    }];
    permits.apply_snapshot(None, Some(2), 1, &external);
    permits.apply_snapshot(None, Some(2), 0, &[]);
    while permits.snapshot_wanted().now_or_never().is_some() {}
    let since = Instant::now();
    let take = |cost| permits.try_acquire(&Arc::from(MODEL), request(cost), since);
    assert!(take(3).is_none());
    assert!(
        permits.snapshot_wanted().now_or_never().is_none(),
        "in vain"
    );
    assert!(take(2).is_none());
    assert!(permits.snapshot_wanted().now_or_never().is_some());
    permits.apply_snapshot(Some(Instant::now()), Some(2), 0, &[]);
    assert!(permits.room().now_or_never().is_some());
    assert!(take(2).is_some());
}
