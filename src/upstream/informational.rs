//! Heads of status 1xx, which only announce an answer. A few of them are normal (100, 103); without
//! end they would keep a core busy until a clock rings.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::Request;
use tokio::sync::Notify;

/// How many heads of status 1xx may come before an answer.
pub(super) const HEADS_MAX: usize = 16;

/// Counts those that come before one answer.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    count: AtomicUsize,
    are_too_many: Notify,
}

impl Announcements {
    /// Counts those that this request gets.
    pub(super) fn of<B>(request: &mut Request<B>) -> Arc<Self> {
        let counted = Arc::<Self>::default();
        let counting = Arc::clone(&counted);
        hyper::ext::on_informational(request, move |_| counting.add());
        counted
    }

    fn add(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) == HEADS_MAX {
            self.are_too_many.notify_one();
        }
    }

    /// Waits until there are more than [`HEADS_MAX`].
    pub(super) async fn too_many(&self) {
        self.are_too_many.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn sixteen_are_borne_and_one_more_is_not() {
        let announcements = Announcements::default();
        (0..HEADS_MAX).for_each(|_| announcements.add());
        assert!(announcements.too_many().now_or_never().is_none());
        announcements.add();
        assert!(announcements.too_many().now_or_never().is_some());
    }
}
