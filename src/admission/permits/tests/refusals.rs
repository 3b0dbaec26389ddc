//! Refusals of upstream: attempts, their waits, and the limits that refusals name.

use super::*;

/// A refusal for an account that is full, with this `Retry-After`.
fn full_with_retry_after(seconds: u64) -> Error {
    let retry_after = Some(Duration::from_secs(seconds));
    refusal(UnitRefusal {
        active: Some(8),
        limit: Some(8),
        retry_after,
        ..UnitRefusal::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_limit_from_a_refusal_rejects_no_request() {
    let permits = permits(8);
    let permit = acquire(&permits, 8).await.unwrap();
    let (waiter, again) = (permits.clone(), QueuePosition::default());
    let large = tokio::spawn(async move { acquire(&waiter, 4).await.map(Permit::finish) });
    let refused = tokio::spawn(async move {
        permit
            .requeue_after_refusal(&full(1, 1), &again)
            .await
            .map(Permit::finish)
    });
    tokio::task::yield_now().await;
    assert_eq!(permits.status().capacity, Some(1), "for now");
    refused.await.unwrap().unwrap();
    large.await.unwrap().unwrap();
    assert_eq!(permits.status().capacity, Some(8));
    assert_eq!(permits.refusals(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_a_snapshot_is_wanted_and_applies() {
    let permits = permits(8);
    let permit = acquire(&permits, 1).await.unwrap();
    let position = QueuePosition::default();
    let refusal = full(8, 8);
    let again = permit.requeue_after_refusal(&refusal, &position);
    tokio::pin!(again);
    tokio::select! {
        _ = &mut again => panic!("upstream said that no unit is free"),
        () = permits.snapshot_wanted() => {}
    }
    assert_eq!(permits.status().external_units, 8);
    permits.apply_snapshot(Some(Instant::now()), Some(8), 0, &[]);
    again.await.unwrap().finish();
    assert_eq!(permits.status().external_units, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_again_and_again_fails_after_a_few_attempts() {
    let permits = permits(8);
    let begun = Instant::now();
    let (attempts, refused) = refused_until_it_fails(&permits, request(1), &full(8, 8)).await;
    assert_eq!(
        (refused.code(), attempts),
        ("concurrency_limit_exceeded", 6)
    );
    assert!(
        refused.message().contains(MODEL) && refused.message().contains("6 times"),
        "{refused}"
    );
    assert!(refused.retry_after().is_some() && refused.throttle().is_some());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (permits.status().in_use, permits.status().cooldown_units),
        (0, 0),
        "it no longer holds units"
    );
    let (attempts, _) = refused_until_it_fails(&permits, request(1), &full(8, 8)).await;
    assert_eq!(attempts, 3, "the model backs off by now");
    permits
        .acquire("x/y", request(8), &QueuePosition::default())
        .await
        .unwrap()
        .finish();
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_even_if_a_snapshot_says_that_units_are_free() {
    let permits = permits(8);
    let permit = acquire(&permits, 1).await.unwrap();
    let (refused_at, position) = (Instant::now(), QueuePosition::default());
    let (refusal, again) = (full_with_retry_after(5), async {
        tokio::task::yield_now().await;
        permits.apply_snapshot(Some(Instant::now()), Some(8), 0, &[]);
        assert!(starts(&permits, 8).await, "others may have the units");
    });
    let (permit, ()) = tokio::join!(permit.requeue_after_refusal(&refusal, &position), again);
    permit.unwrap().finish();
    assert!(
        refused_at.elapsed() >= Duration::from_secs(5),
        "{:?}",
        refused_at.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_known_plan_retry_after_is_obeyed_and_attempts_end() {
    let permits = permits(8);
    permits.set_capacity(None);
    let silent = |retry_after| {
        refusal(UnitRefusal {
            retry_after,
            ..UnitRefusal::default()
        })
    };
    for (retry_after, seconds) in [(None, 1), (Some(0), 1), (Some(2), 2), (Some(20), 20)] {
        let permit = acquire(&permits, 1).await.unwrap();
        let (refused_at, position) = (Instant::now(), QueuePosition::default());
        let refusal = silent(retry_after.map(Duration::from_secs));
        permit
            .requeue_after_refusal(&refusal, &position)
            .await
            .unwrap()
            .finish();
        assert_eq!(refused_at.elapsed().as_secs(), seconds, "{retry_after:?}");
    }
    let begun = Instant::now();
    let position = QueuePosition::default();
    let mut permit = acquire(&permits, 1).await.unwrap();
    let mut attempts = 1;
    while let Ok(again) = permit.requeue_after_refusal(&silent(None), &position).await {
        (permit, attempts) = (again, attempts + 1);
    }
    assert_eq!((attempts, begun.elapsed().as_secs()), (6, 23));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_is_too_long_or_beyond_the_deadline_is_not_waited_for() {
    let permits = permits(8);
    let begun = Instant::now();
    let (attempts, refused) =
        refused_until_it_fails(&permits, request(1), &full_with_retry_after(31)).await;
    assert_eq!(
        (attempts, refused.retry_after()),
        (1, Some(Duration::from_secs(31)))
    );
    let urgent = PermitRequest {
        deadline: Some((begun + Duration::from_secs(3)).into_std()),
        ..request(1)
    };
    let (attempts, refused) =
        refused_until_it_fails(&permits, urgent, &full_with_retry_after(4)).await;
    assert_eq!(
        (attempts, refused.code()),
        (1, "concurrency_limit_exceeded"),
        "at once, and not at the deadline"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_from_a_refusal_stays_when_the_feed_is_lost() {
    let permits = permits(8);
    permits.set_capacity(None);
    let permit = acquire(&permits, 1).await.unwrap();
    let (position, again) = (QueuePosition::default(), permits.clone());
    let waits = tokio::spawn(async move {
        permit
            .requeue_after_refusal(&full(2, 2), &position)
            .await
            .map(Permit::finish)
    });
    waits.await.unwrap().unwrap();
    assert_eq!(again.status().capacity, Some(2));
    again.set_capacity(None);
    assert_eq!(
        again.status().capacity,
        Some(2),
        "an unknown plan changes nothing"
    );
    again.set_capacity(Some(4));
    assert_eq!(again.status().capacity, Some(4));
}

/// Sends a request that upstream refuses each time, although each time a snapshot in between says
/// that units are free. Returns the number of attempts, and the caller's error.
async fn refused_until_it_fails(
    permits: &Permits,
    request: PermitRequest,
    refusal: &Error,
) -> (u32, Error) {
    let position = QueuePosition::default();
    let mut permit = permits.acquire(MODEL, request, &position).await.unwrap();
    let mut attempts = 1;
    loop {
        tokio::time::advance(Duration::from_millis(50)).await;
        permits.apply_snapshot(Some(Instant::now()), Some(8), 0, &[]);
        permit = match permit.requeue_after_refusal(refusal, &position).await {
            Ok(permit) => permit,
            Err(refused) => return (attempts, refused),
        };
        attempts += 1;
    }
}
