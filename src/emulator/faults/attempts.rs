//! Requests that fail a number of times and then succeed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The number of failures of each request, by its fingerprint.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<u64, u32>>);

/// The largest number of requests in the table. At this size the table is cleared, because requests
/// that are never repeated would fill it.
const ATTEMPTS_MAX: usize = 10_000;

impl Attempts {
    /// Whether this attempt of `request` fails: the first `failures` attempts do. The attempt after
    /// them succeeds and resets the count.
    pub fn fails(&self, request: u64, failures: u32) -> bool {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = failed.get(&request).copied().unwrap_or(0);
        if so_far >= failures {
            failed.remove(&request);
            return false;
        }
        if failed.len() >= ATTEMPTS_MAX {
            failed.clear();
        }
        failed.insert(request, so_far + 1);
        true
    }
}
