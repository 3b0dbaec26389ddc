//! Gateways under load at one upstream, which refuses what is too much, while Redis goes away.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::{
    task::LocalSet,
    time::{Instant, interval},
};

use super::*;

/// How often the feed sends a snapshot.
const FEED_INTERVAL: Duration = Duration::from_secs(2);

/// How long a message to upstream, or of it, is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(30);

/// The shortest time between two requested snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(250);

/// What a run is like.
#[derive(Clone, Copy)]
struct Run {
    seed: u64,
    gateways: usize,
    units: u32,
    /// How many callers call each gateway, one call after the other.
    callers: fn(usize) -> usize,
    cost: fn(&mut fastrand::Rng) -> u32,
    /// For how long Redis is away.
    away: Duration,
}

/// What has happened at upstream.
#[derive(Default)]
struct Upstream {
    running: RefCell<Vec<(u64, u32, Instant)>>,
    next: Cell<u64>,
    refused: Cell<u32>,
    answered: RefCell<Vec<u32>>,
}

impl Upstream {
    fn used(&self) -> u32 {
        self.running.borrow().iter().map(|(_, cost, _)| cost).sum()
    }

    fn begin(&self, cost: u32, units: u32) -> Option<u64> {
        if self.used() + cost > units {
            self.refused.set(self.refused.get() + 1);
            return None;
        }
        let id = self.next.replace(self.next.get() + 1);
        self.running.borrow_mut().push((id, cost, Instant::now()));
        Some(id)
    }

    fn end(&self, id: u64) {
        self.running.borrow_mut().retain(|(other, ..)| *other != id);
    }

    /// Shows a gateway what runs now.
    async fn show(&self, permits: &Permits, requested_at: Option<Instant>, units: u32) {
        let (taken_at, running) = (Instant::now(), self.running.borrow().clone());
        sleep(ON_ITS_WAY).await;
        let listed = running.iter().map(|&(_, cost, started_at)| ListedRequest {
            model: MODEL,
            cost,
            duration: taken_at - started_at,
        });
        let listed: Vec<_> = listed.collect();
        let used = listed.iter().map(|request| request.cost).sum();
        permits.apply_snapshot(requested_at, Some(units), used, &listed);
    }
}

/// Calls, one after the other.
async fn call(upstream: Rc<Upstream>, permits: Permits, gateway: usize, run: Run, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let position = QueuePosition::unwatched();
    loop {
        sleep(Duration::from_millis(rng.u64(0..200))).await;
        let request = request((run.cost)(&mut rng));
        let permit = permits.acquire(MODEL, request, &position).await;
        let Ok(mut permit) = permit else {
            sleep(Duration::from_secs(1)).await;
            continue;
        };
        loop {
            sleep(ON_ITS_WAY).await;
            if let Some(id) = upstream.begin(permit.units(), run.units) {
                sleep(Duration::from_millis(rng.u64(500..12_000))).await;
                upstream.end(id);
                sleep(ON_ITS_WAY).await;
                permit.finish();
                upstream.answered.borrow_mut()[gateway] += 1;
                break;
            }
            sleep(ON_ITS_WAY).await;
            let again = permit.requeue_after_refusal(&full(), &position).await;
            let Ok(again) = again else { break };
            permit = again;
        }
    }
}

/// Loads the gateways, takes Redis away and brings it back. Returns how many requests upstream has refused, and
/// how many each gateway had answered while Redis was away.
async fn load(run: Run) -> (u32, Vec<u32>) {
    fastrand::seed(run.seed);
    let mut rng = fastrand::Rng::with_seed(run.seed);
    let settings = Settings::default();
    let cluster = Cluster::with_settings(settings, run.gateways, run.units).await;
    let upstream = Rc::new(Upstream::default());
    *upstream.answered.borrow_mut() = vec![0; run.gateways];
    let cluster = Rc::new(cluster);
    for (gateway, permits) in cluster.gateways.iter().enumerate() {
        let (feed, phase) = (permits.clone(), Duration::from_millis(rng.u64(0..2_000)));
        let shown = Rc::clone(&upstream);
        tokio::task::spawn_local(async move {
            sleep(phase).await;
            let mut ticks = interval(FEED_INTERVAL);
            loop {
                ticks.tick().await;
                shown.show(&feed, None, run.units).await;
            }
        });
        let (requested, shown) = (permits.clone(), Rc::clone(&upstream));
        tokio::task::spawn_local(async move {
            loop {
                requested.snapshot_wanted().await;
                let requested_at = Instant::now();
                sleep(ON_ITS_WAY).await;
                shown.show(&requested, Some(requested_at), run.units).await;
                tokio::time::sleep_until(requested_at + SNAPSHOT_INTERVAL).await;
            }
        });
        for _ in 0..(run.callers)(gateway) {
            let calls = call(
                Rc::clone(&upstream),
                permits.clone(),
                gateway,
                run,
                rng.u64(..),
            );
            tokio::task::spawn_local(calls);
        }
    }
    let all = 0..run.gateways;
    let members: BTreeSet<_> = all
        .clone()
        .map(|gateway| MemberId(gateway as u64))
        .collect();
    let phases: Vec<_> = all.clone().map(|_| rng.usize(0..200)).collect();
    let pass = async |time: Duration| {
        let until = Instant::now() + time;
        let mut steps = 0;
        while Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
            cluster.carry_once();
            steps += 1;
            // Each takes part in the election once a second.
            for gateway in all.clone() {
                if (steps + phases[gateway]) % 200 == 0 {
                    cluster.see_one(gateway, members.clone());
                }
            }
            if steps % 200 == 0 {
                cluster.tell_view();
            }
        }
    };
    pass(Duration::from_millis(30_000 + rng.u64(0..1_000))).await;
    assert_eq!(upstream.refused.get(), 0, "before Redis is away");
    let answered = upstream.answered.borrow().clone();
    let back_at = Instant::now() + run.away;
    while Instant::now() < back_at {
        for gateway in all.clone() {
            cluster.miss(gateway);
            cluster.seat(gateway).change(|core, _| core.take_outgoing());
        }
        sleep(Duration::from_millis(250)).await;
    }
    let alone: Vec<_> = upstream
        .answered
        .borrow()
        .iter()
        .zip(&answered)
        .map(|(now, before)| now - before)
        .collect();
    cluster.see(all.clone());
    pass(Duration::from_secs(30)).await;
    (upstream.refused.get(), alone)
}

/// A run of a minute without Redis. The second gateway and those after it have more callers than the first.
fn minute(seed: u64, gateways: usize, units: u32, cost: fn(&mut fastrand::Rng) -> u32) -> Run {
    Run {
        seed,
        gateways,
        units,
        callers: |gateway| 4 + 12 * gateway.min(2),
        cost,
        away: Duration::from_secs(60),
    }
}

#[tokio::test(start_paused = true)]
async fn when_redis_goes_away_under_load_upstream_refuses_nothing_and_each_gateway_goes_on() {
    for (gateways, units) in [(2, 8), (3, 9), (4, 8), (4, 32), (16, 100)] {
        for seed in 0..3 {
            let run = minute(seed, gateways, units, |rng| [1, 1, 1, 2, 2][rng.usize(..5)]);
            let (refused, answered) = LocalSet::new().run_until(load(run)).await;
            let run = format!("{gateways} gateways, {units} units, seed {seed}: {answered:?}");
            assert_eq!(refused, 0, "{run}");
            assert!(answered.iter().all(|&answered| answered >= 5), "{run}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_redis_is_away_requests_beyond_the_share_seldom_meet() {
    let mut sum = 0;
    for seed in 0..8 {
        let run = minute(seed, 4, 8, |rng| [1, 1, 1, 2, 2, 4][rng.usize(..6)]);
        let (refused, answered) = LocalSet::new().run_until(load(run)).await;
        assert!(
            answered.iter().all(|&answered| answered > 0),
            "{answered:?}"
        );
        sum += refused;
    }
    assert!(sum <= 1, "upstream has refused {sum} requests");
}
