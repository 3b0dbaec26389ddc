//! Counts informational responses (status 1xx) before an answer. A few are normal (100, 103). An
//! endless series would keep a core busy until a timeout expires.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::Request;
use tokio::sync::Notify;

/// The most informational responses before an answer.
pub(super) const RESPONSES_MAX: usize = 16;

/// Counts the informational responses to one request.
#[derive(Debug, Default)]
pub(super) struct InformationalCounter {
    count: AtomicUsize,
    exceeded: Notify,
}

impl InformationalCounter {
    /// Counts the informational responses to `request`.
    pub(super) fn attach<B>(request: &mut Request<B>) -> Arc<Self> {
        let counter = Arc::<Self>::default();
        let counting = Arc::clone(&counter);
        hyper::ext::on_informational(request, move |_| counting.add());
        counter
    }

    fn add(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) == RESPONSES_MAX {
            self.exceeded.notify_one();
        }
    }

    /// Completes when there are more than [`RESPONSES_MAX`].
    pub(super) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn sixteen_are_accepted_and_one_more_is_not() {
        let counter = InformationalCounter::default();
        (0..RESPONSES_MAX).for_each(|_| counter.add());
        assert!(counter.exceeded().now_or_never().is_none());
        counter.add();
        assert!(counter.exceeded().now_or_never().is_some());
    }
}
