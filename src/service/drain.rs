//! The signal that the server drains: it ends running calls in good order and takes no new ones.

use std::{future::Future, pin::Pin};

use tokio::sync::watch;

/// Whether the server drains. Cheap to clone; all clones share one state.
///
/// ```
/// # use featherwire::service::Drain;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let drain = Drain::default();
/// let started = drain.started();
/// drain.start();
/// started.await;
/// assert!(drain.has_started());
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Drain(watch::Sender<bool>);

/// Completes when the drain starts.
pub type DrainStarted = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Drain {
    /// Starts the drain. It never ends: the process does.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Whether the drain has started.
    pub fn has_started(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when the drain starts; at once if it has started.
    pub fn started(&self) -> DrainStarted {
        let sender = self.0.clone();
        Box::pin(async move {
            // Never fails: `sender` is held here.
            let _ = sender
                .subscribe()
                .wait_for(|has_started| *has_started)
                .await;
        })
    }
}
