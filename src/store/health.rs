//! Whether the database answers, and whether it takes what the gateway has to write.
//!
//! A full disk stops what is written and not what is read. So a read that succeeds says nothing of
//! it: only the same writer can tell when it is over.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::pool::Store;

/// What a gateway writes without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The records of calls.
    Records,
    /// What keys spend.
    Spending,
}

/// The last answers of the database.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_away: AtomicBool,
    refuses_records: AtomicBool,
    refuses_spending: AtomicBool,
}

impl Store {
    /// Whether the last step with a limit has reached the database, and the last attempt to write
    /// each of [`Written`] has succeeded.
    pub fn is_up(&self) -> bool {
        let Health {
            is_away,
            refuses_records,
            refuses_spending,
        } = self.health();
        ![is_away, refuses_records, refuses_spending]
            .into_iter()
            .any(|is_bad| is_bad.load(Relaxed))
    }

    /// Tells whether an attempt to write has succeeded.
    pub(crate) fn note_written(&self, what: Written, is_written: bool) {
        let refuses = match what {
            Written::Records => &self.health().refuses_records,
            Written::Spending => &self.health().refuses_spending,
        };
        refuses.store(!is_written, Relaxed);
    }

    pub(super) fn note_answer(&self, is_up: bool) {
        self.health().is_away.store(!is_up, Relaxed);
    }
}
