//! What keys have spent and want to spend, on its way to the task that exchanges it with the
//! database.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{clock::UnixMs, fence::Fence, spending::Spending};

/// The keys with something to tell the database. Cheap to clone; all clones share one list.
#[derive(Clone, Default)]
pub(super) struct SpendingNews(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether budgets are shared with other gateways.
    has_leases: AtomicBool,
    fence: Fence,
    /// What must be added to the time of this machine.
    clock_offset_ms: AtomicI64,
    /// Each key is in it at most once.
    list: Mutex<Vec<Arc<Spending>>>,
    changed: Notify,
    wanted: Notify,
    exchanges: watch::Sender<Exchanges>,
}

/// The exchanges with the database so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchanges {
    /// How many there were.
    pub(super) number: u64,
    /// Whether the last one failed.
    pub(super) is_failing: bool,
}

impl SpendingNews {
    /// From now on, calls of keys with budgets need leases. It must be called before there are
    /// keys.
    pub(super) fn need_leases(&self) {
        self.0.has_leases.store(true, Ordering::Relaxed);
    }

    /// Whether calls of keys with budgets need leases.
    pub(super) fn has_leases(&self) -> bool {
        self.0.has_leases.load(Ordering::Relaxed)
    }

    /// Until when leases hold.
    pub(super) fn fence(&self) -> &Fence {
        &self.0.fence
    }

    /// Sets what must be added to the time of this machine, because its clock is wrong.
    pub(super) fn set_clock_offset(&self, ms: i64) {
        self.0.clock_offset_ms.store(ms, Ordering::Relaxed);
    }

    /// The time by which days of budgets begin, at the time `now` of this machine.
    pub(super) fn time_of_budgets(&self, now: UnixMs) -> UnixMs {
        now.saturating_add(self.0.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// Adds a key, which is not in the list.
    pub(super) fn add(&self, spending: &Arc<Spending>) {
        // Without another gateway, nobody takes it from here.
        if self.has_leases() {
            self.list(|list| list.push(Arc::clone(spending)));
            self.0.changed.notify_one();
        }
    }

    /// Asks for an exchange at once.
    pub(super) fn want_exchange(&self) {
        self.0.wanted.notify_one();
    }

    /// Waits until there is a key in the list.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until an exchange is wanted at once.
    pub(super) async fn exchange_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Takes keys from the beginning of the list, as long as `more` says so of the next one.
    pub(super) fn take_while(
        &self,
        mut more: impl FnMut(&Arc<Spending>) -> bool,
    ) -> Vec<Arc<Spending>> {
        self.list(|list| {
            let end = list.iter().position(|key| !more(key));
            let rest = list.split_off(end.unwrap_or(list.len()));
            std::mem::replace(list, rest)
        })
    }

    /// How many keys are in the list.
    pub(super) fn length(&self) -> usize {
        self.list(|list| list.len())
    }

    /// Tells the end of an exchange.
    pub(super) fn end_exchange(&self, is_failing: bool) {
        self.0.exchanges.send_modify(|exchanges| {
            exchanges.number += 1;
            exchanges.is_failing = is_failing;
        });
    }

    /// The exchanges so far.
    pub(super) fn exchanges(&self) -> Exchanges {
        *self.0.exchanges.borrow()
    }

    /// Waits until there were more exchanges than `number`.
    pub(super) async fn exchange_after(&self, number: u64) {
        let mut exchanges = self.0.exchanges.subscribe();
        // The sender lives as long as this.
        let _ = exchanges
            .wait_for(|exchanges| exchanges.number > number)
            .await;
    }

    fn list<T>(&self, with: impl FnOnce(&mut Vec<Arc<Spending>>) -> T) -> T {
        with(&mut self.0.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for SpendingNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpendingNews")
            .field("exchanges", &self.exchanges())
            .finish_non_exhaustive()
    }
}
