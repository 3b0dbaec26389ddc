//! Messages of upstream about the units that are wrong, incomplete or contradictory.

use super::*;

/// A message of the feed without requests.
fn feed_says(permits: &Permits, capacity: Option<u32>, used_cost: u32) -> bool {
    permits.apply_snapshot(None, capacity, used_cost, &[])
}

/// A request that waits for units in its own task, once it is in the queue.
async fn waits(
    permits: &Permits,
    request: PermitRequest,
) -> tokio::task::JoinHandle<Result<Permit>> {
    let permits = permits.clone();
    let waits = tokio::spawn(async move {
        permits
            .acquire(MODEL, request, &QueuePosition::default())
            .await
    });
    tokio::task::yield_now().await;
    waits
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_message_with_a_smaller_plan_ends_no_wait() {
    let permits = permits(8);
    for small in [1, 3] {
        let holder = acquire(&permits, 8).await.unwrap();
        let waiter = waits(&permits, request(4)).await;
        assert!(feed_says(&permits, Some(small), 0));
        let late = waits(&permits, request(4)).await;
        pass(1).await;
        assert!(!waiter.is_finished() && !late.is_finished(), "{small}");
        assert_eq!(
            permits.status().capacity,
            Some(small),
            "but no request starts on more units"
        );
        assert!(feed_says(&permits, Some(8), 0));
        holder.finish();
        waiter.await.unwrap().unwrap().finish();
        late.await.unwrap().unwrap().finish();
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_stays_smaller_rejects_the_requests_that_do_not_fit() {
    let permits = permits(8);
    let holder = acquire(&permits, 8).await.unwrap();
    let waiter = waits(&permits, request(4)).await;
    for _ in 0..4 {
        assert!(!waiter.is_finished());
        feed_says(&permits, Some(2), 0);
        pass(2).await;
    }
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "model_exceeds_plan");
    assert!(error.message().contains("has 2"), "{error}");
    assert_eq!(
        acquire(&permits, 4).await.unwrap_err().code(),
        "model_exceeds_plan"
    );
    holder.finish();
}

#[tokio::test(start_paused = true)]
async fn a_plan_from_one_message_is_requested_again_before_a_request_fails() {
    let permits = unknown();
    feed_says(&permits, Some(2), 0);
    let large = waits(&permits, request(4)).await;
    permits.snapshot_wanted().await;
    assert!(!large.is_finished());
    permits.apply_snapshot(Some(Instant::now()), Some(2), 0, &[]);
    assert_eq!(
        large.await.unwrap().unwrap_err().code(),
        "model_exceeds_plan"
    );
}

#[tokio::test(start_paused = true)]
async fn impossible_messages_are_ignored_and_counted() {
    let permits = permits(8);
    let _holder = acquire(&permits, 8).await.unwrap();
    let waiter = waits(&permits, request(4)).await;
    for (capacity, used) in [
        (Some(0), 0),
        (Some(8), 9),
        (Some(8), 1_000_000_000),
        (Some(8), u32::MAX),
    ] {
        assert!(!feed_says(&permits, capacity, used), "{capacity:?} {used}");
    }
    permits.count_ignored_message();
    assert_eq!(permits.ignored_messages(), 5);
    assert_eq!(
        (permits.status().capacity, permits.status().external_units),
        (Some(8), 0)
    );
    assert!(!waiter.is_finished());
}

#[tokio::test(start_paused = true)]
async fn one_message_without_a_limit_starts_no_request() {
    let permits = permits(4);
    let _holder = acquire(&permits, 4).await.unwrap();
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(waits(&permits, request(1)).await);
    }
    assert!(
        feed_says(&permits, None, 0)
            && feed_says(&permits, Some(4), 4)
            && feed_says(&permits, None, 0)
    );
    assert_eq!(
        (permits.status().running, permits.status().capacity),
        (1, Some(4))
    );
    assert!(
        feed_says(&permits, None, 0),
        "two in a row remove the limit"
    );
    assert_eq!(
        (permits.status().running, permits.status().capacity),
        (21, None)
    );
}

#[tokio::test(start_paused = true)]
async fn an_estimated_cost_follows_the_plan_when_it_shrinks_and_grows() {
    let permits = permits(8);
    let estimated = |cost| PermitRequest {
        is_cost_estimated: true,
        ..request(cost)
    };
    let holder = acquire(&permits, 8).await.unwrap();
    let first = waits(&permits, estimated(4)).await;
    permits.set_capacity(Some(2));
    let second = waits(&permits, estimated(4)).await;
    permits.set_capacity(Some(3));
    holder.finish();
    let first = first.await.unwrap().unwrap();
    assert_eq!(permits.status().in_use, 3, "the limit of the plan by now");
    // It is refused, and the refusal names a smaller limit.
    let again = tokio::spawn(async move {
        first
            .requeue_after_refusal(&full(2, 2), &QueuePosition::default())
            .await
    });
    pass(1).await;
    assert!(!again.is_finished() && permits.status().capacity == Some(2));
    permits.set_capacity(Some(2));
    let first = again.await.unwrap().unwrap();
    assert_eq!(permits.status().in_use, 2);
    first.finish();
    permits.set_capacity(Some(16));
    assert_eq!(permits.status().in_use, 2, "it has started");
    second.await.unwrap().unwrap().finish();
}

#[tokio::test(start_paused = true)]
async fn a_cost_estimated_before_the_plan_is_known_does_not_reject_the_request() {
    let permits = unknown();
    permits.set_plan_unknown();
    let holder = acquire(&permits, 2).await.unwrap();
    // No limit is known until a refusal names one, and then the plan.
    let refused = {
        let permit = permits
            .acquire(
                MODEL,
                PermitRequest {
                    is_cost_estimated: true,
                    ..request(4)
                },
                &QueuePosition::default(),
            )
            .await
            .unwrap();
        tokio::spawn(async move {
            permit
                .requeue_after_refusal(&full(2, 2), &QueuePosition::default())
                .await
        })
    };
    tokio::task::yield_now().await;
    permits.set_capacity(Some(2));
    holder.finish();
    refused.await.unwrap().unwrap().finish();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_plan_changes_nothing() {
    let permits = permits(8);
    permits.set_plan_unknown();
    assert_eq!(permits.status().capacity, Some(8));
    let permits = unknown();
    permits.set_plan_unknown();
    let permit = acquire(&permits, 1).await.unwrap();
    let other = permits.clone();
    let waits = tokio::spawn(async move {
        permit
            .requeue_after_refusal(&full(2, 2), &QueuePosition::default())
            .await
            .map(Permit::finish)
    });
    waits.await.unwrap().unwrap();
    other.set_plan_unknown();
    assert_eq!(other.status().capacity, Some(2));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_plan_counts_as_a_wait() {
    let permits = unknown();
    let permit = acquire(&permits, 1).await.unwrap();
    assert_eq!(permit.waited(), Duration::from_secs(2));
    let waiter = waits(&permits, request(1)).await;
    pass(1).await;
    permits.set_plan_unknown();
    assert_eq!(
        waiter.await.unwrap().unwrap().waited(),
        Duration::from_secs(1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_request_lends_its_units_and_then_is_first() {
    let (permits, position) = (permits(4), QueuePosition::default());
    let paused = acquire(&permits, 4).await.unwrap();
    let others = [
        waits(&permits, request(4)).await,
        waits(&permits, request(4)).await,
    ];
    let begun = Instant::now();
    let again =
        tokio::spawn(async move { paused.pause(Duration::from_secs(5), false, &position).await });
    let [first, second] = others;
    let first = first.await.unwrap().unwrap();
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "its units are free at once"
    );
    assert_eq!(
        permits.status().queued.default,
        2,
        "it still counts as waiting"
    );
    pass(7).await;
    first.finish();
    let again = again.await.unwrap().unwrap();
    assert_eq!(
        (begun.elapsed().as_secs(), again.waited().as_secs()),
        (7, 2),
        "only the wait for units counts"
    );
    assert!(
        !second.is_finished(),
        "before the other request, which came later"
    );
    again.finish();
    second.await.unwrap().unwrap().finish();
    assert_eq!(
        (permits.status().in_use, permits.status().cooldown_units),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_request_that_leaves_leaves_nothing_behind() {
    let permits = permits(4);
    let paused = acquire(&permits, 4).await.unwrap();
    let again = tokio::spawn(async move {
        paused
            .pause(Duration::from_secs(5), true, &QueuePosition::default())
            .await
    });
    tokio::task::yield_now().await;
    assert_eq!(
        (permits.status().in_use, permits.status().cooldown_units),
        (0, 4),
        "upstream may not have noticed yet"
    );
    again.abort();
    assert!(again.await.unwrap_err().is_cancelled());
    pass(6).await;
    let status = permits.status();
    assert_eq!(
        (status.in_use, status.cooldown_units, status.queued.default),
        (0, 0, 0)
    );
    assert!(starts(&permits, 4).await);
}
