//! The account's concurrency units. Gets a permit for each request, and runs the task that keeps
//! the permits informed about the plan and about other processes.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    call::Call,
    feed::Feed,
    unit_monitor::{UnitMonitor, listed},
};
use crate::{
    admission::{
        Caller, ClusterStatus, KeyId, Outlook, PerPriority, Permit, PermitRequest, Permits,
        Priority, QueueStatus, Role, Settings,
        cost::{UNKNOWN_MODEL_COST, cost_of},
    },
    cluster::redis::Redis,
    config,
    error::{Error, Result},
    keys::{Directory, PriorityClass},
    proto::v1::{ClusterRole, ClusterUnits, Concurrency, GatewayUnits, KeyUnits, QueuedByPriority},
    upstream::{Catalogue, Client, catalogue::Snapshot},
};

/// How soon the task of the units begins again after a bug has ended it.
const KEEP_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// With several keys, one key may fill the queue except for this part, `1 / OTHER_KEYS_PART`.
const OTHER_KEYS_PART: usize = 4;

/// The account's units. Cheap to clone; all clones share one queue.
#[derive(Clone, Debug)]
pub struct Units {
    permits: Permits,
    catalogue: Catalogue,
    keys: Directory,
    /// There is no limit, so costs do not matter.
    is_unbounded: bool,
    /// The numbers of the keys here, by those in the cluster. `None` without a cluster.
    numbers: Option<Arc<KeyNumbers>>,
    /// For an upstream with units of its own kind: its index in the catalogue. A model whose cost
    /// it does not tell costs one unit.
    counts_requests_of: Option<usize>,
    _keeper: Arc<Keeper>,
}

/// The task that keeps the permits informed and drives them. It serves all callers, and ends with
/// the last clone.
#[derive(Debug)]
struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Units {
    /// The units of the account of `upstream`, shared by the gateway keys of `keys`, and by all
    /// gateways of a cluster that talk through `redis`. `counts_requests_of` is the index of an
    /// upstream that is not Featherless and counts requests, in the catalogue. Lines of the log
    /// name the `account`, unless it is empty. Must be called within a runtime.
    #[expect(clippy::too_many_arguments, reason = "all that an account has")]
    pub fn new(
        account: &str,
        upstream: Client,
        catalogue: Catalogue,
        feed: Feed,
        keys: Directory,
        config: &config::Units,
        redis: Option<Redis>,
        counts_requests_of: Option<usize>,
    ) -> Self {
        let settings = Settings::default();
        // A request must be due before its wait ends.
        let bypass_limit_max = settings.bypass_limit_max.min(config.queue_timeout / 2);
        // With a configured number of units no snapshots come, so headroom would wait for nothing.
        let headroom = if config.units.is_some() {
            0
        } else {
            settings.headroom
        };
        let queue_limit = config.queue_limit;
        let settings = Settings {
            queue_limit,
            queue_limit_per_key: queue_limit - queue_limit / OTHER_KEYS_PART,
            bypass_limit_max,
            headroom,
            ..settings
        };
        let numbers = redis.is_some().then(Arc::default);
        let permits = match redis {
            None => Permits::new(settings, config.queue_timeout, account),
            Some(redis) => Permits::in_cluster(settings, config.queue_timeout, account, redis),
        };
        let keeper = {
            let (permits, catalogue, units) = (permits.clone(), catalogue.clone(), config.units);
            tokio::spawn(async move {
                let keep = async || {
                    match units {
                        Some(units) => permits.set_capacity((units > 0).then_some(units)),
                        None if !upstream.has_key() => permits.set_capacity(None),
                        None => {
                            let monitor = UnitMonitor::new(&upstream, &permits);
                            let feed = monitor.follow_feed(&feed);
                            let snapshots = monitor.request_wanted_snapshots();
                            tokio::join!(permits.drive(), feed, snapshots, catalogue.get_soon());
                            return;
                        }
                    }
                    permits.drive().await;
                };
                // Without this task no call would get units any more, while the gateway seems ready.
                while AssertUnwindSafe(keep()).catch_unwind().await.is_err() {
                    tracing::error!(
                        account = permits.account(),
                        "a bug: the task of the units has failed, and begins again"
                    );
                    sleep(KEEP_AGAIN_AFTER).await;
                }
            })
        };
        let _keeper = Arc::new(Keeper(keeper.abort_handle()));
        Self {
            permits,
            catalogue,
            keys,
            is_unbounded: config.units == Some(0),
            numbers,
            counts_requests_of,
            _keeper,
        }
    }

    /// Units without a limit: every request starts at once.
    pub fn unbounded(upstream: Client, catalogue: Catalogue) -> Self {
        let config = config::Units {
            units: Some(0),
            queue_limit: usize::MAX,
            queue_timeout: Duration::from_secs(3600),
            key_weights: Vec::new(),
        };
        let feed = Feed::new(upstream.clone());
        Self::new(
            "",
            upstream,
            catalogue,
            feed,
            Directory::new(&[], &[]),
            &config,
            None,
            None,
        )
    }

    /// Leaves the cluster, if there is one, so that the others need not wait for this gateway. Call
    /// it after the last call.
    pub async fn leave(&self) {
        self.permits.leave().await;
    }

    /// Waits for the units of a request for `model`.
    ///
    /// # Errors
    ///
    /// As for [`Permits::acquire`]: [`Kind::Saturated`](crate::error::Kind::Saturated) if no units
    /// become free in time, [`Kind::Timeout`](crate::error::Kind::Timeout) if the caller's deadline
    /// has passed, [`Kind::Forbidden`](crate::error::Kind::Forbidden) if the model costs more units
    /// than the plan has.
    pub async fn acquire(&self, call: &Call, model: &Arc<str>) -> Result<Permit> {
        let request = self.request(call, self.cost(model).await);
        let since = Instant::now();
        call.stats.begin_wait(call.arrived_at.elapsed());
        let permit = self
            .permits
            .acquire(Arc::clone(model), request, &call.queue_position)
            .await;
        match &permit {
            Ok(permit) => call.stats.end_wait(permit.waited()),
            Err(_) => _ = call.stats.add_wait(since.elapsed()),
        }
        permit
    }

    /// Completes when this account may have units that no request waits for: see [`Permits::room`].
    pub(super) async fn room(&self) -> u64 {
        self.permits.room().await
    }

    /// Lets another request look for them.
    pub(super) fn pass_room_on(&self) {
        self.permits.pass_room_on();
    }

    /// Takes the units of a request for `model` that waits at another account since `since`, if it can
    /// start here now.
    pub(super) fn try_acquire(
        &self,
        call: &Call,
        model: &Arc<str>,
        copy: Option<&Snapshot>,
        since: Instant,
    ) -> Option<Permit> {
        let request = self.request_in(call, model, copy);
        self.permits.try_acquire(model, request, since)
    }

    /// Notes that the wait of a call for another account has ended with this `permit`.
    pub(super) fn note_start(&self, call: &Call, permit: &Permit, since: Instant) {
        let before = Duration::from_millis(call.stats.waited_ms());
        call.queue_position.set_moved(permit.units(), since, before);
        call.stats.end_wait(permit.waited());
    }

    fn key(&self, call: &Call) -> KeyId {
        let number = call.identity.number();
        match &self.numbers {
            None => KeyId(number.into()),
            Some(numbers) => {
                let key = KeyId(call.identity.shared_number());
                numbers.note(key, number);
                key
            }
        }
    }

    /// What a request for `model` would meet in the queue now, by what `copy` of the catalogue
    /// tells. `None` while the plan is not known.
    pub(super) fn outlook(
        &self,
        call: &Call,
        model: &str,
        copy: Option<&Snapshot>,
    ) -> Option<Outlook> {
        self.permits.outlook(&self.request_in(call, model, copy))
    }

    /// The request of a call for `model`, by what `copy` of the catalogue tells.
    fn request_in(&self, call: &Call, model: &str, copy: Option<&Snapshot>) -> PermitRequest {
        let cost = match self.is_unbounded {
            true => cost_of(None, None, model),
            false => self.cost_in(copy, model),
        };
        self.request(call, cost)
    }

    fn request(&self, call: &Call, cost: Option<u32>) -> PermitRequest {
        PermitRequest {
            caller: Caller {
                key: self.key(call),
                weight: call.identity.weight(),
            },
            priority: priority(call),
            cost: cost.unwrap_or(UNKNOWN_MODEL_COST),
            is_cost_estimated: cost.is_none(),
            units_max: call.identity.limits().max_units,
            is_only_key: !self.keys.has_several_callers(),
            deadline: call.deadline.map(Instant::into_std),
            waited: Duration::from_millis(call.stats.waited_ms()),
        }
    }

    /// The cost of `model`; `None` if nothing is known about it.
    async fn cost(&self, model: &str) -> Option<u32> {
        if self.is_unbounded {
            return cost_of(None, None, model);
        }
        let copy = match self.catalogue.current() {
            Some(copy) => Some(copy),
            None => self.catalogue.get_soon().await,
        };
        self.cost_in(copy.as_deref(), model)
    }

    /// The cost of `model` by this copy of the catalogue; `None` if nothing is known about it.
    fn cost_in(&self, copy: Option<&Snapshot>, model: &str) -> Option<u32> {
        if let Some(source) = self.counts_requests_of {
            let known = copy.and_then(|copy| copy.cost_at(source, model));
            return Some(known.filter(|cost| *cost > 0).unwrap_or(1));
        }
        let (cost, class) = copy.and_then(|copy| copy.cost(model)).unwrap_or_default();
        cost_of(cost, Some(class).filter(|class| !class.is_empty()), model)
    }

    /// Whether `error` is a refusal for lack of units, so that waiting for units can help.
    pub fn is_refusal(&self, error: &Error) -> bool {
        !self.is_unbounded && error.unit_refusal().is_some()
    }

    /// The state of the queue.
    pub(super) fn queue_status(&self) -> QueueStatus {
        self.permits.status()
    }

    /// How often the upstream has refused a request of this gateway for lack of units.
    pub(super) fn refusals(&self) -> u64 {
        self.permits.own_refusals()
    }

    /// What is known of the cluster. `None` without one.
    pub(super) fn cluster_status(&self) -> Option<ClusterStatus> {
        self.permits.cluster_status()
    }

    /// Adds to a snapshot what the gateway knows about the units. Its own requests that have ended
    /// are left out, also where `snapshot` counts them, so that the two parts agree.
    pub fn complete(&self, snapshot: &mut Concurrency, arrived_at: Instant) {
        let requests: Vec<_> = snapshot.requests.iter().map(listed).collect();
        let (status, ended) = self.permits.status_and_ended(&requests, arrived_at);
        let less = |number: Option<i32>, by: i32| number.map(|number| number.saturating_sub(by));
        let mut index = 0;
        snapshot.requests.retain(|request| {
            let has_ended = ended.contains(&index);
            index += 1;
            if has_ended {
                let cost = request.cost.unwrap_or_default();
                snapshot.used_cost = less(snapshot.used_cost, cost);
                snapshot.request_count = less(snapshot.request_count, 1);
            }
            !has_ended
        });
        snapshot.gateway = Some(self.view(status));
    }

    /// What the gateway knows about the units.
    fn view(&self, status: QueueStatus) -> GatewayUnits {
        let refusals = i64::try_from(self.permits.refusals()).unwrap_or(i64::MAX);
        let odd_messages = i64::try_from(self.permits.ignored_messages()).unwrap_or(i64::MAX);
        GatewayUnits {
            refusals,
            odd_messages,
            cluster: self.cluster_status().map(|status| ClusterUnits {
                role: role(status.role).into(),
                members: i32::try_from(status.members).unwrap_or(i32::MAX),
                silent_ms: (status.role == Role::Following)
                    .then(|| i64::try_from(status.silent_for.as_millis()).unwrap_or(i64::MAX)),
                ..ClusterUnits::default()
            }),
            ..describe(status, self.numbers.as_deref())
        }
    }
}

fn role(role: Role) -> ClusterRole {
    match role {
        Role::Leading => ClusterRole::Leading,
        Role::Following => ClusterRole::Following,
        Role::Alone => ClusterRole::Alone,
    }
}

/// What the keys that have called this gateway are called here.
#[derive(Debug, Default)]
struct KeyNumbers(RwLock<HashMap<KeyId, u32>>);

impl KeyNumbers {
    fn note(&self, key: KeyId, number: u32) {
        if self.of(key) != Some(number) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(key, number);
        }
    }

    fn of(&self, key: KeyId) -> Option<u32> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).copied()
    }
}

/// The place of a key, from 1. 0 for a key that has called only other gateways of the cluster.
fn place(key: KeyId, numbers: Option<&KeyNumbers>) -> i32 {
    let number = match numbers {
        None => Some(key.0),
        Some(numbers) => numbers.of(key).map(u64::from),
    };
    number.map_or(0, |number| {
        i32::try_from(number.saturating_add(1)).unwrap_or(i32::MAX)
    })
}

/// The class of a call: the one that it asks for, but none above the highest of its key.
fn priority(call: &Call) -> Priority {
    let highest = match call.identity.limits().highest_priority {
        None | Some(PriorityClass::Interactive) => Priority::Interactive,
        Some(PriorityClass::Default) => Priority::Default,
        Some(PriorityClass::Batch) => Priority::Batch,
    };
    // The highest class is the smallest value.
    call.priority.unwrap_or_default().max(highest)
}

fn describe(status: QueueStatus, numbers: Option<&KeyNumbers>) -> GatewayUnits {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let PerPriority {
        interactive,
        default,
        batch,
    } = status.queued;
    GatewayUnits {
        capacity: status.capacity.map(number),
        outside: number(status.external_units),
        in_use: number(status.in_use),
        settling: number(status.cooldown_units),
        running: count(status.running),
        queued: Some(QueuedByPriority {
            interactive: count(interactive),
            default: count(default),
            batch: count(batch),
            ..QueuedByPriority::default()
        }),
        oldest_wait_ms: status.oldest.map(milliseconds),
        wait_p50_ms: status.wait_p50.map(milliseconds),
        wait_p99_ms: status.wait_p99.map(milliseconds),
        keys: status
            .keys
            .iter()
            .map(|key| KeyUnits {
                key: place(key.key, numbers),
                weight: number(key.weight),
                in_use: number(key.in_use),
                queued: count(key.queued),
                unit_seconds: key.unit_seconds,
                ..KeyUnits::default()
            })
            .collect(),
        ..GatewayUnits::default()
    }
}
