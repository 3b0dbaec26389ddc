//! Admission: which request may be sent to upstream now, and which must wait. It is the gateway's
//! one queue for an account's concurrency units.
//!
//! Featherless limits one thing: a plan has a number of units, a running request holds as many as
//! its model costs, and upstream refuses a request that does not fit with 429. The queue keeps
//! requests until their units are free.
//!
//! # Layout
//!
//! In reading order. Each file imports only files that stand before it here, except where a room's
//! own list says more.
//!
//! - `request`: what a request asks for ([`PermitRequest`]), and why it can be rejected.
//! - [`cost`]: how many units a model costs.
//! - `settings`, `status`: the options, and what monitoring sees. `outlook`: what a request would
//!   meet in the queue.
//! - [`external_usage`]: finds in upstream's snapshots how many units other processes hold.
//! - `scheduler`: the order of requests and all decisions ([`Scheduler`]). It is pure: no I/O, no
//!   task, no clock and no randomness.
//! - `permits`: the scheduler for requests that wait in tasks ([`Permits`], [`Permit`]), and what
//!   is known about the plan from snapshots and refusals.
//!
//! # What happens to a request
//!
//! [`Permits::acquire`] enqueues it and waits. When its units are free, the scheduler starts it,
//! and it gets a [`Permit`]. If upstream refuses it all the same, because another process of the
//! account was faster, [`Permit::requeue_after_refusal`] takes over the numbers of the refusal and
//! waits again, in the request's old position. [`Permit::finish`] or dropping the permit frees the
//! units, and the next request starts.
//!
//! # Order
//!
//! 1. *Due* requests, the one that has been due for longest first (see below).
//! 2. Priority classes: interactive before default before batch. A lower class accrues *credit*: a
//!    fixed share of the work that the other classes start while it waits. When its credit covers
//!    its next request, that request is next.
//! 3. In a class: weighted fair queueing over the keys. The key with the least work per weight is
//!    next. Work is units multiplied by time. A request is charged its expected work when it
//!    starts, and its actual work when it ends. Only time counts in which requests of the class
//!    were waiting and another key was active: units that no other request wants are free of
//!    charge. A key that was idle starts at the position of the others: idle time is not saved. And
//!    earlier work delays a key by at most what all units do in two minutes.
//! 4. Of one key in one class: the request that came first.
//!
//! A key may have a largest number of units ([`PermitRequest::units_max`]). Its requests beyond that
//! are not in this order: they are *held back* until its own requests have ended.
//!
//! If the next request does not fit, it is *bypassed*: the first request in the same order that
//! fits starts instead, so that no unit is idle while a request waits that fits. Requests of the
//! same key, class and cost never bypass each other. A request is bypassed by a smaller one of its
//! own key only in this way.
//!
//! Reserved units are expensive to hold. So after the request they were reserved for has ended,
//! other requests of at least its cost may use the same units, in any key's turn, if their class is
//! next. This ends when these requests have started as much work as
//! [`Settings::reservation_reuse_share`] allows, or when no such request waits. They are charged as
//! usual.
//!
//! # Guarantees
//!
//! A bypassed request is due when its bypass limit has passed since the first bypass
//! ([`Settings::bypass_limit`]), or as soon as its key or class lags too far (see below). Then no
//! request starts before it, except those that were due earlier, and units that become free are
//! reserved for it until it fits. So it starts at the latest when all requests have ended that were
//! running when it became due, and those that were due earlier have been served. This holds while
//! its cost fits into the units that external usage leaves. While it does not fit, no end of the
//! gateway's requests could help, and nothing is reserved.
//!
//! Only a request that is next in order can be bypassed. So a due request is one whose turn it
//! already was, and the shares of the keys follow their weights however long requests wait. A key
//! *lags* by the work that it needs to be even with the key that would start in its place; a class
//! lags by the work that other classes started when it was next. If that is more than all units do
//! in one bypass limit, the next request is due at once. So no key lacks more than that, except if
//! it holds so many units itself that only the end of its own requests can make room. Each class
//! and each key gets its share, and the number of keys is finite, so each request is next at some
//! time: no request starves.
//!
//! Apart from headroom ([`Settings::headroom`]), a unit is idle while a request waits that fits
//! into it only because it is reserved. The bypass limit is long enough that reserving costs about
//! [`Settings::reserved_share`] of the plan.

pub mod cost;
pub mod external_usage;

mod outlook;
mod permits;
mod request;
mod scheduler;
mod settings;
mod status;

pub use outlook::Outlook;
pub use permits::{ClusterStatus, Permit, Permits, QueuePosition, Role, Wait};
pub use request::{Caller, EnqueueError, KeyId, PerPriority, PermitRequest, Priority, Ticket};
pub use scheduler::Scheduler;
pub use settings::Settings;
pub use status::{KeyStatus, QueueStatus};
