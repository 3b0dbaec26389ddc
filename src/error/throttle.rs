//! Why Featherless answered 429, as data.
//!
//! The two reasons need different reactions. Concurrency units become free as soon as any request
//! of the account ends, and the gateway's queue waits for them. A rate limit passes only with time.

use std::time::Duration;

/// Why Featherless answered 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The account has too few free concurrency units for the request.
    Units(UnitRefusal),
    /// Requests arrive faster than Featherless allows.
    Rate,
}

/// The numbers in a refusal for lack of concurrency units. A number is `None` if Featherless does
/// not give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitRefusal {
    /// The units in use.
    pub active: Option<u32>,
    /// The units that the refused request needs.
    pub required: Option<u32>,
    /// The units of the plan.
    pub limit: Option<u32>,
    /// The `Retry-After` of the reply.
    pub retry_after: Option<Duration>,
}
