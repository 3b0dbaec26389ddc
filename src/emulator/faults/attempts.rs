//! Requests that fail a number of times and then succeed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How often each request has failed, by its fingerprint.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<u64, u32>>);

/// Requests that never come again are forgotten at this many.
const ATTEMPTS_MAX: usize = 10_000;

impl Attempts {
    /// Whether this attempt is one of the first `failures` of `request`. The one after them begins
    /// anew.
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
