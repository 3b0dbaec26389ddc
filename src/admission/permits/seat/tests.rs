use std::{collections::BTreeSet, time::Duration};

use tokio::{task::JoinHandle, time::sleep};

use super::{core::Seen, wire};
use crate::{
    admission::{
        external_usage::ListedRequest,
        permits::{Permit, Permits, QueuePosition, Role},
        request::{Caller, KeyId, PermitRequest},
        settings::Settings,
    },
    cluster::{
        message::{Epoch, MemberId},
        redis::LEASE,
    },
    error::{Error, ErrorCode, Result, Throttle, UnitRefusal},
};

mod away;
mod order;
mod upstream_load;

const MODEL: &str = "a/b";
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);

/// Gateways, with a carrier of their messages in place of Redis.
struct Cluster {
    gateways: Vec<Permits>,
    epoch: u64,
    leader: usize,
    began_at: tokio::time::Instant,
    drivers: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// This number of gateways, on a plan of this number of units. The first one leads.
    async fn new(gateways: usize, units: u32) -> Self {
        let settings = Settings {
            headroom: 0,
            ..Settings::default()
        };
        Self::with_settings(settings, gateways, units).await
    }

    async fn with_settings(settings: Settings, gateways: usize, units: u32) -> Self {
        let gateways: Vec<_> = (0..gateways as u64)
            .map(|number| Permits::of_member(settings, QUEUE_TIMEOUT, "", MemberId(number)))
            .collect();
        let drivers = gateways.iter().cloned();
        let drivers = drivers.map(|permits| tokio::spawn(async move { permits.drive().await }));
        let mut cluster = Self {
            drivers: drivers.collect(),
            gateways,
            epoch: 0,
            leader: 0,
            began_at: tokio::time::Instant::now(),
        };
        for permits in &cluster.gateways {
            permits.set_capacity(Some(units));
        }
        cluster.elect(0);
        cluster.carry().await;
        cluster
    }

    /// This gateway has the lease from now on.
    fn elect(&mut self, leader: usize) {
        (self.epoch, self.leader) = (self.epoch + 1, leader);
        self.see(0..self.gateways.len());
    }

    /// These gateways reach Redis, and it knows no others.
    fn see(&self, reach: impl IntoIterator<Item = usize> + Clone) {
        let members = reach.clone().into_iter();
        let members: BTreeSet<_> = members.map(|gateway| MemberId(gateway as u64)).collect();
        for gateway in reach {
            self.see_one(gateway, members.clone());
        }
    }

    /// This gateway reaches Redis, which knows these members.
    fn see_one(&self, gateway: usize, members: BTreeSet<MemberId>) {
        self.seat(gateway).change(|core, now| {
            let seen = Seen {
                asked_at: now,
                clock: self.began_at.elapsed(),
                leader: Some((MemberId(self.leader as u64), Epoch(self.epoch))),
                members,
                units_of_others: Vec::new(),
                left: BTreeSet::new(),
                are_members_complete: true,
            };
            core.see(now, seen);
        });
    }

    /// All gateways learn what the leader tells.
    fn tell_view(&self) {
        let view = self
            .seat(self.leader)
            .change(|core, now| core.own_view(now).unwrap());
        for gateway in 0..self.gateways.len() {
            let view = wire::decode_view(&wire::encode_view(&view)).unwrap();
            self.seat(gateway).change(|core, _| core.take_view(view));
        }
    }

    /// This gateway reaches Redis, and nobody leads.
    fn see_nobody(&self, gateway: usize) {
        self.seat(gateway).change(|core, now| {
            let seen = Seen {
                asked_at: now,
                clock: self.began_at.elapsed(),
                leader: None,
                members: [MemberId(gateway as u64)].into(),
                units_of_others: Vec::new(),
                left: BTreeSet::new(),
                are_members_complete: true,
            };
            core.see(now, seen);
        });
    }

    /// Redis does not answer this gateway.
    fn miss(&self, gateway: usize) {
        self.seat(gateway)
            .change(|core, now| core.miss(now, &"no answer"));
    }

    fn seat(&self, gateway: usize) -> &super::Seat {
        self.gateways[gateway].seat.as_ref().unwrap()
    }

    /// Carries messages as bytes until none is left.
    async fn carry(&self) {
        while self.carry_once() {
            tokio::task::yield_now().await;
        }
    }

    fn carry_once(&self) -> bool {
        self.carry_between(0..self.gateways.len())
    }

    /// Carries the messages that these gateways have for each other. Returns whether there were any.
    fn carry_between(&self, reach: std::ops::Range<usize>) -> bool {
        let mut has_carried = false;
        for gateway in reach.clone() {
            let seat = self.seat(gateway);
            let (now, outgoing) = seat.change(|core, now| (now, core.take_outgoing()));
            let to_leader = wire::encode_to_leader(&outgoing.to_leader, now);
            for message in wire::decode_to_leader(&to_leader, now).unwrap() {
                has_carried = true;
                self.seat(self.leader)
                    .change(|core, now| core.receive_as_leader(now, message));
            }
            for (to, message) in outgoing.to_members {
                if !reach.contains(&(to.0 as usize)) {
                    continue;
                }
                has_carried = true;
                let bytes = wire::encode_to_member(&[message]);
                for message in wire::decode_to_member(&bytes).unwrap() {
                    self.seat(to.0 as usize)
                        .change(|core, now| core.receive_as_member(now, message));
                }
            }
        }
        has_carried
    }

    /// Lets time pass, in which all gateways reach Redis.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(100);
        for _ in 0..time.div_duration_f64(step).ceil() as u32 {
            sleep(step).await;
            self.see(0..self.gateways.len());
            self.carry().await;
        }
    }

    /// A request that waits in a task.
    fn ask(&self, gateway: usize, cost: u32) -> JoinHandle<Result<Permit>> {
        let (permits, request) = (self.gateways[gateway].clone(), request(cost));
        tokio::spawn(async move {
            let position = QueuePosition::unwatched();
            permits.acquire(MODEL, request, &position).await
        })
    }

    /// A request that starts at once.
    async fn start(&self, gateway: usize, cost: u32) -> Permit {
        let asked = self.ask(gateway, cost);
        self.settle().await;
        assert!(asked.is_finished(), "it has started");
        asked.await.unwrap().unwrap()
    }

    /// Lets all tasks do what they can do now.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
            self.carry().await;
        }
    }

    /// The units that requests hold, as each gateway tells it.
    fn in_use(&self) -> u32 {
        self.gateways[self.leader].status().in_use
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for driver in &self.drivers {
            driver.abort();
        }
    }
}

fn request(cost: u32) -> PermitRequest {
    let caller = Caller {
        key: KeyId(0),
        weight: 1,
    };
    PermitRequest::new(caller, cost)
}

/// A request of another program, in a snapshot.
fn other() -> ListedRequest<'static> {
    ListedRequest {
        model: "x/y",
        cost: 1,
        duration: Duration::from_secs(90),
    }
}

fn full() -> Error {
    let units = UnitRefusal {
        active: Some(2),
        limit: Some(2),
        ..UnitRefusal::default()
    };
    Error::new(ErrorCode::ConcurrencyLimitExceeded, "full").with_throttle(Throttle::Units(units))
}
