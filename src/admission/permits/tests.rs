use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{Permit, Permits, QueuePosition, state::CANCELLED_COOLDOWN};
use crate::{
    admission::{
        external_usage::ListedRequest,
        request::{Caller, KeyId, PermitRequest, Priority},
        settings::Settings,
    },
    error::{Error, ErrorCode, Result, Throttle, UnitRefusal},
};

mod odd;
mod upstreams;

const MODEL: &str = "a/b";

fn permits(capacity: u32) -> Permits {
    let permits = unknown();
    permits.set_capacity(Some(capacity));
    permits
}

/// Permits of a plan that is not known yet.
fn unknown() -> Permits {
    let permits = Permits::new(Settings::default(), Duration::from_secs(300));
    let driver = permits.clone();
    tokio::spawn(async move { driver.drive().await });
    permits
}

fn request(cost: u32) -> PermitRequest {
    PermitRequest {
        cost,
        ..PermitRequest::default()
    }
}

fn full(active: u32, limit: u32) -> Error {
    let units = UnitRefusal {
        active: Some(active),
        limit: Some(limit),
        ..UnitRefusal::default()
    };
    refusal(units)
}

fn refusal(units: UnitRefusal) -> Error {
    Error::new(ErrorCode::ConcurrencyLimitExceeded, "full").with_throttle(Throttle::Units(units))
}

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

async fn acquire(permits: &Permits, cost: u32) -> Result<Permit> {
    permits
        .acquire(MODEL, request(cost), &QueuePosition::default())
        .await
}

/// Whether a request would start now. The request is given up.
async fn starts(permits: &Permits, cost: u32) -> bool {
    tokio::time::timeout(Duration::from_millis(1), acquire(permits, cost))
        .await
        .is_ok()
}

fn others(units: u32) -> Vec<ListedRequest<'static>> {
    (0..units)
        .map(|_| ListedRequest {
            model: "x/y",
            cost: 1,
            duration: Duration::from_secs(90),
        })
        .collect()
}

fn feed_says(permits: &Permits, capacity: u32, external_units: u32) {
    permits.apply_snapshot(
        None,
        Some(capacity),
        external_units,
        &others(external_units),
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_is_forgotten_and_does_not_explain_external_usage() {
    let permits = permits(8);
    let holder = acquire(&permits, 8).await.unwrap();
    for _ in 0..100 {
        assert!(!starts(&permits, 1).await);
    }
    drop(holder);
    tokio::time::advance(Duration::from_secs(600)).await;
    {
        let state = permits.shared.lock();
        assert_eq!((state.pending.len(), state.running.len()), (0, 0));
    }
    // None of the requests that left explains these.
    let listed: Vec<_> = (0..8)
        .map(|_| ListedRequest {
            model: MODEL,
            cost: 1,
            duration: Duration::from_secs(600),
        })
        .collect();
    permits.apply_snapshot(None, Some(8), 8, &listed);
    assert_eq!(permits.status().external_units, 8);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_it_learns_of_its_units_gives_them_back() {
    let permits = permits(1);
    let holder = acquire(&permits, 1).await.unwrap();
    let mut waiter = Box::pin(acquire(&permits, 1));
    assert!(futures_util::FutureExt::now_or_never(&mut waiter).is_none());
    holder.finish();
    assert_eq!(permits.status().in_use, 1, "it holds the unit");
    drop(waiter);
    assert_eq!(
        (permits.status().in_use, permits.status().cooldown_units),
        (0, 0),
        "upstream has not received the request"
    );
    assert!(starts(&permits, 1).await);
}

#[tokio::test(start_paused = true)]
async fn whatever_way_requests_end_every_unit_comes_back_once() {
    const CAPACITY: u32 = 6;
    let permits = permits(CAPACITY);
    let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let dice = std::cell::RefCell::new(fastrand::Rng::with_seed(11));
    let roll = |most: u64| dice.borrow_mut().u64(0..most);
    let callers = (0..2000).map(|_| async {
        tokio::time::sleep(Duration::from_millis(roll(200_000))).await;
        let (cost, patience) = (
            [1, 1, 2, 4][roll(4) as usize],
            Duration::from_millis(roll(20_000)),
        );
        let call = async {
            let position = QueuePosition::default();
            let mut permit = match permits
                .acquire(
                    MODEL,
                    PermitRequest {
                        priority: Priority::ALL[roll(3) as usize],
                        ..request(cost)
                    },
                    &position,
                )
                .await
            {
                Ok(permit) => permit,
                Err(_) => return,
            };
            while roll(10) == 0 {
                permit = match permit
                    .requeue_after_refusal(&full(CAPACITY, CAPACITY), &position)
                    .await
                {
                    Ok(permit) => permit,
                    Err(_) => return,
                };
            }
            permit.mark_admitted();
            most.fetch_max(held.fetch_add(cost, Relaxed) + cost, Relaxed);
            let held = Held(&held, cost);
            tokio::time::sleep(Duration::from_millis(roll(2_000))).await;
            drop(held);
            if roll(2) == 0 {
                permit.finish()
            } else {
                drop(permit)
            }
        };
        // Some callers leave at any point.
        let _ = tokio::time::timeout(patience, call).await;
    });
    futures_util::future::join_all(callers).await;
    assert_eq!(
        most.into_inner(),
        CAPACITY,
        "all units are used, and no more"
    );
    tokio::time::advance(CANCELLED_COOLDOWN).await;
    assert!(
        starts(&permits, CAPACITY).await,
        "and all units are free again"
    );
    let state = permits.shared.lock();
    assert_eq!(
        (
            state.pending.len(),
            state.running.len(),
            state.scheduler.held()
        ),
        (0, 0, CAPACITY),
        "its units are cooling down"
    );
    assert!(state.refusals > 0);
}

struct Held<'a>(&'a AtomicU32, u32);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn external_usage_applies_for_a_while_if_no_snapshot_follows() {
    let permits = permits(4);
    feed_says(&permits, 4, 3);
    // A refusal says that other processes hold all units. It applies for two seconds. Then the last
    // snapshot applies again, for its minute.
    let permit = acquire(&permits, 1).await.unwrap();
    let again = permits.clone();
    let position = QueuePosition::default();
    let waiting = tokio::spawn(async move {
        permit
            .requeue_after_refusal(&full(4, 4), &position)
            .await
            .map(Permit::finish)
    });
    tokio::task::yield_now().await;
    assert_eq!(again.status().external_units, 4);
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::task::yield_now().await;
    assert_eq!(again.status().external_units, 3);
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::task::yield_now().await;
    waiting.await.unwrap().unwrap();
    assert_eq!(permits.status().external_units, 0);
    assert!(starts(&permits, 4).await);
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
async fn an_estimated_cost_is_at_most_the_limit_of_the_plan() {
    let permits = permits(2);
    assert_eq!(
        acquire(&permits, 4).await.unwrap_err().code(),
        "model_exceeds_plan"
    );
    let guess = PermitRequest {
        is_cost_estimated: true,
        ..request(4)
    };
    let permit = permits
        .acquire(MODEL, guess, &QueuePosition::default())
        .await
        .unwrap();
    assert_eq!(permits.status().in_use, 2);
    permit.finish();
}

#[tokio::test(start_paused = true)]
async fn weights_decide_the_shares_from_end_to_end() {
    let permits = permits(4);
    let served = [AtomicU32::new(0), AtomicU32::new(0)];
    let callers = (0..400).map(|number| {
        let (permits, served, key) = (&permits, &served, number % 2);
        async move {
            let caller = Caller {
                key: KeyId(key),
                weight: [1, 3][key as usize],
            };
            let permit = permits
                .acquire(
                    MODEL,
                    PermitRequest {
                        caller,
                        ..request(1)
                    },
                    &QueuePosition::default(),
                )
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            permit.finish();
            if served[1].load(Relaxed) < 200 {
                served[key as usize].fetch_add(1, Relaxed);
            }
        }
    });
    futures_util::future::join_all(callers).await;
    let light = served[0].load(Relaxed);
    assert!(
        (60..=74).contains(&light),
        "while the heavy key was served 200, the light one was served {light}"
    );
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
async fn a_permit_of_an_unsent_request_gives_its_units_back_at_once() {
    let permits = permits(8);
    let granted = acquire(&permits, 8).await.unwrap();
    granted.cancel_unsent();
    assert_eq!(
        (permits.status().in_use, permits.status().cooldown_units),
        (0, 0)
    );
    drop(acquire(&permits, 8).await.unwrap());
    assert_eq!(
        permits.status().cooldown_units,
        8,
        "a request that was sent needs a cooldown"
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

/// Otherwise `serve --emulator` would refuse the next request of a correct gateway.
#[test]
fn the_emulator_frees_the_units_of_a_cancelled_request_before_the_gateway_uses_them() {
    use clap::{Args as _, FromArgMatches as _};
    let command = crate::config::EmulatorOptions::augment_args(clap::Command::new("emulator"));
    let matches = command.try_get_matches_from(["emulator"]).unwrap();
    let options = crate::config::EmulatorOptions::from_arg_matches(&matches).unwrap();
    assert!(
        options.emulator_release_after < CANCELLED_COOLDOWN,
        "by default of the option"
    );
    assert_eq!(
        options.emulator_release_after,
        crate::emulator::RELEASE_AFTER,
        "as in the library"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_already_passed_is_reported_as_such() {
    let permits = permits(1);
    let _holder = acquire(&permits, 1).await.unwrap();
    let late = PermitRequest {
        deadline: Some(Instant::now().into_std()),
        ..request(1)
    };
    assert_eq!(
        permits
            .acquire(MODEL, late, &QueuePosition::default())
            .await
            .unwrap_err()
            .code(),
        "deadline_exceeded"
    );
    let never = PermitRequest {
        deadline: Some(Instant::now().into_std()),
        ..request(2)
    };
    assert_eq!(
        permits
            .acquire(MODEL, never, &QueuePosition::default())
            .await
            .unwrap_err()
            .code(),
        "model_exceeds_plan"
    );
}
