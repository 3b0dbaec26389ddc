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

mod model_backoff;
mod odd;
mod refusals;
mod room;
mod upstreams;

const MODEL: &str = "a/b";

fn permits(capacity: u32) -> Permits {
    let permits = unknown();
    permits.set_capacity(Some(capacity));
    permits
}

/// Permits of a plan that is not known yet.
fn unknown() -> Permits {
    let permits = Permits::new(Settings::default(), Duration::from_secs(300), "");
    let driver = permits.clone();
    tokio::spawn(async move { driver.drive().await });
    permits
}

fn request(cost: u32) -> PermitRequest {
    let caller = Caller {
        key: KeyId(0),
        weight: 1,
    };
    PermitRequest::new(caller, cost)
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
