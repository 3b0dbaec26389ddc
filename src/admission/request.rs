//! What a waiter says of itself, and what it may be told instead of a ticket.

use std::time::{Duration, Instant};

/// One of the gateway's keys. Their number is bounded by the configuration: an account is kept for
/// each one ever seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// A request's place in the queue, and then among those that run. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// The classes of requests, the first of them served before the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody looks at the screen.
    Interactive,
    /// What says nothing of itself.
    #[default]
    Default,
    /// It may take the night.
    Batch,
}

impl Priority {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Default, Self::Batch];
}

/// One value for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerPriority<T> {
    /// Of [`Priority::Interactive`].
    pub interactive: T,
    /// Of [`Priority::Default`].
    pub default: T,
    /// Of [`Priority::Batch`].
    pub batch: T,
}

impl<T> PerPriority<T> {
    /// The value of this class.
    pub fn of(&self, priority: Priority) -> &T {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Default => &self.default,
            Priority::Batch => &self.batch,
        }
    }

    /// The value of this class, to be changed.
    pub fn of_mut(&mut self, priority: Priority) -> &mut T {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Default => &mut self.default,
            Priority::Batch => &mut self.batch,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Whose request it is.
    pub key: KeyId,
    /// The key's share, against those of the other keys in the same class. The key's last word
    /// counts; 0 is taken as 1.
    pub weight: u32,
    /// Its class.
    pub priority: Priority,
    /// The units it holds while it runs.
    pub cost: u32,
    /// When there is no use in starting it any more.
    pub deadline: Option<Instant>,
}

/// Why a request can't even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnqueueError {
    /// It costs more than the whole plan has, outsiders or not.
    ExceedsPlan {
        /// The units it would hold.
        cost: u32,
        /// The units of the plan.
        capacity: u32,
    },
    /// As many wait as may.
    QueueFull {
        /// How many may wait.
        limit: usize,
        /// About when one of those waiting will have started.
        retry_after: Duration,
    },
    /// It couldn't start before its deadline.
    TooLate {
        /// About how long it would have waited.
        wait: Duration,
    },
}
