//! A request for concurrency units: who asks, for how many units, and why it can be rejected.

use std::time::{Duration, Instant};

/// A gateway key, or all callers of a gateway without keys. The scheduler keeps an account for each
/// key it has seen. The gateways of a cluster have the same number for the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// A caller, as the scheduler knows it. There is no default: a request without a key would be one
/// of the first key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key.
    pub key: KeyId,
    /// The key's share of the units, relative to the weights of the other keys in the same priority
    /// class. 0 counts as 1. The weight of the key's newest request applies.
    pub weight: u32,
}

/// The number of a request, in order of arrival. A request keeps its ticket while it waits and
/// while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// The priority classes, highest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A person is waiting for the answer.
    Interactive,
    /// The caller did not name a class.
    #[default]
    Default,
    /// The answer may take hours.
    Batch,
}

impl Priority {
    /// All classes, highest first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Default, Self::Batch];
}

/// One value for each priority class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerPriority<T> {
    /// The value for [`Priority::Interactive`].
    pub interactive: T,
    /// The value for [`Priority::Default`].
    pub default: T,
    /// The value for [`Priority::Batch`].
    pub batch: T,
}

impl<T> PerPriority<T> {
    /// The value for `priority`.
    pub fn of(&self, priority: Priority) -> &T {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Default => &self.default,
            Priority::Batch => &self.batch,
        }
    }

    /// The value for `priority`, mutably.
    pub fn of_mut(&mut self, priority: Priority) -> &mut T {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Default => &mut self.default,
            Priority::Batch => &mut self.batch,
        }
    }
}

/// A request for concurrency units. It has no model: the scheduler decides by cost alone.
///
/// ```
/// use featherwire::admission::{Caller, KeyId, PermitRequest, Priority};
///
/// let caller = Caller { key: KeyId(0), weight: 1 };
/// let request = PermitRequest {
///     priority: Priority::Interactive,
///     ..PermitRequest::new(caller, 4)
/// };
/// assert_eq!(request.cost, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// The key that asks, and its weight.
    pub caller: Caller,
    /// The priority class.
    pub priority: Priority,
    /// The units that the request holds while it runs.
    pub cost: u32,
    /// `cost` is an estimate, because nothing is known about the model. An estimate above the
    /// plan's limit is lowered to the limit: it never rejects a request.
    pub is_cost_estimated: bool,
    /// The largest number of units that the requests of the key may hold at once; `None` for no
    /// limit. Requests beyond it wait for the key's own requests to end.
    pub units_max: Option<u32>,
    /// No other key may call, so the key may fill the queue.
    pub is_only_key: bool,
    /// The caller's own deadline. A request that has not started by then is removed from the queue.
    pub deadline: Option<Instant>,
    /// How long the call has already waited for units of other models. It shortens the wait that
    /// [`Permits`](super::Permits) allow; the scheduler does not use it.
    pub waited: Duration,
}

impl PermitRequest {
    /// A request of `caller` for `cost` units, of the default class and without a deadline.
    pub fn new(caller: Caller, cost: u32) -> Self {
        Self {
            caller,
            priority: Priority::default(),
            cost,
            is_cost_estimated: false,
            units_max: None,
            is_only_key: false,
            deadline: None,
            waited: Duration::ZERO,
        }
    }
}

/// Why the scheduler does not accept a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnqueueError {
    /// The request costs more units than the plan has.
    ExceedsPlan {
        /// The units that the request needs.
        cost: u32,
        /// The units of the plan.
        capacity: u32,
    },
    /// The request costs more units than its key may hold at once.
    ExceedsKey {
        /// The units that the request needs.
        cost: u32,
        /// The units that the key may hold.
        units_max: u32,
    },
    /// The queue is full.
    QueueFull {
        /// How many requests may wait.
        limit: usize,
        /// The estimated time until a waiting request starts.
        retry_after: Duration,
    },
    /// The request cannot start before its deadline.
    TooLate {
        /// The estimated wait.
        wait: Duration,
    },
}
