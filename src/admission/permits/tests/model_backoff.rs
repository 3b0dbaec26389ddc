//! Models that upstream refuses while it admits others: one request of such a model probes it, and
//! the others wait.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::join_all;
use tokio::task::{LocalSet, spawn_local};

use super::*;

/// A request that upstream refuses each time, until it fails. `asked` counts the attempts.
async fn refused(permits: Permits, model: &'static str, asked: Rc<RefCell<u32>>) -> Error {
    let position = QueuePosition::default();
    let mut permit = match permits.acquire(model, request(1), &position).await {
        Ok(permit) => permit,
        Err(error) => return error,
    };
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        *asked.borrow_mut() += 1;
        permit = match permit.requeue_after_refusal(&full(4, 4), &position).await {
            Ok(permit) => permit,
            Err(error) => return error,
        };
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_model_that_is_always_refused_one_request_at_a_time_is_sent_and_all_count_as_waiting()
{
    LocalSet::new()
        .run_until(async {
            let settings = Settings {
                queue_limit_per_key: 400,
                ..Settings::default()
            };
            let permits = Permits::new(settings, Duration::from_secs(300), "");
            let driver = permits.clone();
            spawn_local(async move { driver.drive().await });
            permits.set_capacity(Some(4));
            let snapshots = permits.clone();
            spawn_local(async move {
                loop {
                    snapshots.snapshot_wanted().await;
                    snapshots.apply_snapshot(Some(Instant::now()), Some(4), 0, &[]);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            });
            let asked = Rc::default();
            let calls = (0..400)
                .map(|_| spawn_local(refused(permits.clone(), "a/refused", Rc::clone(&asked))));
            let calls: Vec<_> = calls.collect();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let full = permits
                .acquire("a/refused", request(1), &QueuePosition::default())
                .await;
            assert_eq!(
                full.unwrap_err().code(),
                "queue_full",
                "parked requests count"
            );
            let others = (0..20).map(|_| async {
                let caller = Caller {
                    key: KeyId(1),
                    weight: 1,
                };
                let good = PermitRequest {
                    caller,
                    ..request(4)
                };
                permits
                    .acquire("a/good", good, &QueuePosition::default())
                    .await
                    .map(Permit::finish)
                    .is_ok()
            });
            assert!(
                join_all(others)
                    .await
                    .into_iter()
                    .all(|is_served| is_served),
                "other models are not blocked"
            );
            for call in join_all(calls).await {
                assert_eq!(call.unwrap().code(), "concurrency_limit_exceeded");
            }
            assert!(
                *asked.borrow() <= 20,
                "{} requests for 400 calls",
                asked.borrow()
            );
            assert_eq!(
                (permits.status().in_use, permits.status().queued.default),
                (0, 0)
            );
            // Later requests wait for the next probe.
            let before = *asked.borrow();
            let late = (0..50)
                .map(|_| spawn_local(refused(permits.clone(), "a/refused", Rc::clone(&asked))));
            join_all(late.collect::<Vec<_>>())
                .await
                .into_iter()
                .for_each(|late| drop(late.unwrap()));
            assert!(*asked.borrow() - before <= 3, "{}", asked.borrow());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn when_a_model_that_backs_off_is_admitted_all_its_requests_start() {
    let permits = permits(4);
    let mut first = acquire(&permits, 1).await.unwrap();
    for _ in 0..3 {
        first = first
            .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
            .await
            .unwrap();
    }
    let again = tokio::spawn(async move {
        first
            .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
            .await
    });
    tokio::task::yield_now().await;
    let position = QueuePosition::default();
    let mut later = Box::pin(permits.acquire(MODEL, request(1), &position));
    assert!(
        futures_util::FutureExt::now_or_never(&mut later).is_none(),
        "units are free, but the model backs off"
    );
    assert_eq!(position.requests_ahead(), Some(0));
    let probe = again.await.unwrap().unwrap();
    assert!(
        futures_util::FutureExt::now_or_never(&mut later).is_none(),
        "one at a time"
    );
    probe.mark_admitted();
    let later = later.await.unwrap();
    assert_eq!(permits.status().in_use, 2);
    // A request that is given up says nothing.
    drop((probe, later));
    assert!(starts(&permits, 2).await);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_makes_room_for_the_next_one() {
    let permits = permits(4);
    let mut first = acquire(&permits, 1).await.unwrap();
    for _ in 0..3 {
        first = first
            .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
            .await
            .unwrap();
    }
    let again = tokio::spawn(async move {
        first
            .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
            .await
    });
    tokio::task::yield_now().await;
    let waiting = permits.clone();
    let second = tokio::spawn(async move { acquire(&waiting, 1).await });
    let probe = again.await.unwrap().unwrap();
    assert!(!second.is_finished());
    drop(probe);
    second.await.unwrap().unwrap().finish();
    tokio::time::sleep(CANCELLED_COOLDOWN * 2).await;
    assert_eq!(
        (
            permits.status().in_use,
            permits.status().cooldown_units,
            permits.status().external_units
        ),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_refused_counts_as_admitted_however_long_its_answer_takes() {
    // The probe of the external usage from a refusal, and the probe of a model that backs off.
    for refusals in [1, 4] {
        let permits = permits(4);
        let mut first = acquire(&permits, 1).await.unwrap();
        for _ in 1..refusals {
            first = first
                .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
                .await
                .unwrap();
        }
        let again = tokio::spawn(async move {
            first
                .requeue_after_refusal(&full(4, 4), &QueuePosition::default())
                .await
        });
        tokio::task::yield_now().await;
        let waiting = permits.clone();
        let second = tokio::spawn(async move { acquire(&waiting, 3).await });
        // It was sent, and has no result yet.
        let silent = again.await.unwrap().unwrap();
        let begun = Instant::now();
        second.await.unwrap().unwrap().finish();
        assert_eq!(begun.elapsed(), Duration::from_secs(2), "{refusals}");
        drop(silent);
    }
}
