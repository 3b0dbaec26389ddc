//! The keys in the database.

mod audit;
mod error;
#[macro_use]
mod rows;
// Below the macros that they use.
mod change;
mod follow;
mod gateways;
mod page;
mod read;
mod spending;
mod status;

use crate::store::{Store, Written};

pub use error::KeysError;
pub(super) use gateways::LEASE_TIME;
pub(super) use spending::{CLOCK_TOLERANCE, Exchange, ExchangeError, Spent};

/// The channel on which PostgreSQL tells other gateways of a change.
const CHANNEL: &str = "featherwire_keys";

/// The keys in the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    /// For what the gateway needs to serve calls.
    store: Store,
    /// For what callers ask and change.
    queries: Store,
}

impl Repository {
    /// The keys in `store`, whose tables exist.
    pub fn new(store: Store) -> Self {
        Self {
            queries: store.queries(),
            store,
        }
    }

    /// Whether the keys are in the memory of this process, where no other process can change them.
    pub(super) fn is_in_memory(&self) -> bool {
        self.store.is_in_memory()
    }

    /// Tells whether an attempt to save what keys spend has succeeded.
    pub(super) fn note_spending(&self, is_saved: bool) {
        self.store.note_written(Written::Spending, is_saved);
    }

    /// Ends all connections to the database.
    pub async fn close(&self) {
        self.store.close().await;
    }
}
