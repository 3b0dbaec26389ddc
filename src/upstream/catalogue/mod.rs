//! The catalogue of models: fetched once, kept, and refreshed in the background.
//!
//! It is kept as text (each model in our own JSON form) with a small index beside it: 22,000 models as messages would
//! take several times as much memory, and a page shows a hundred of them. The catalogue advises, it forbids nothing:
//! a model that it doesn't have is still asked for upstream. [`Catalogue`] is the handle, [`Copy`] what it hands out,
//! `writer` makes one of the upstream's list.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future};
use tokio::time::Instant;

use super::{
    client::{Ask, Client},
    names::Names,
};
use crate::error::{Error, Kind, Result};

mod copy;
mod writer;

pub use copy::{Copy, Page};
pub use writer::keep_models;

/// How old the catalogue may be before it is refreshed behind the back of whoever asks.
const FRESH: Duration = Duration::from_secs(600);

/// After a refresh that failed, how long to leave the upstream alone.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How long an answer may wait for what the catalogue could add to it.
const SOON: Duration = Duration::from_secs(2);

/// The catalogue of an upstream. Cheap to clone; all clones share one copy.
#[derive(Clone)]
pub struct Catalogue {
    upstream: Client,
    names: Names,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    copy: RwLock<Option<Arc<Copy>>>,
    /// The fetch of the first copy, which all who wait for it share.
    first: Mutex<Option<FirstFetch>>,
    refreshing: AtomicBool,
    failed_at: RwLock<Option<Instant>>,
}

type FirstFetch = future::Shared<future::BoxFuture<'static, Result<Arc<Copy>>>>;

fn too_late() -> Error {
    let message = "The caller's own deadline passed before the catalogue had come: allow more time, or try again soon";
    Error::new(Kind::Timeout, "deadline_exceeded", message)
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The catalogue of this upstream by these names, not fetched yet.
    pub fn new(upstream: Client, names: Names) -> Self {
        Self { upstream, names, shared: Arc::default() }
    }

    /// What models are called here.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The copy that is kept, fetched first if there is none. An old one is refreshed meanwhile.
    ///
    /// # Errors
    /// What the upstream's reply to the first fetch means; never for a refresh.
    pub async fn get(&self, ask: Ask<'_>) -> Result<Arc<Copy>> {
        if let Some(copy) = self.kept() {
            return Ok(copy);
        }
        let fetch = self.first_fetch();
        match ask.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, fetch).await.unwrap_or_else(|_| Err(too_late())),
            None => fetch.await,
        }
    }

    fn first_fetch(&self) -> FirstFetch {
        let mut first = self.shared.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetch) = first.as_ref().filter(|fetch| !matches!(fetch.peek(), Some(Err(_)))) {
            return fetch.clone();
        }
        let catalogue = self.clone();
        // A task of its own, so that it comes to its end though the one who set it off may leave.
        let task = tokio::spawn(async move {
            let text = catalogue.upstream.get_text(&["models"], Ask::default()).await;
            let copy = text.and_then(|text| Copy::new(&text, &catalogue.names)).map(|copy| catalogue.keep(copy));
            catalogue.note_failure(copy.is_err().then(Instant::now));
            copy
        });
        let fetch = task.map(|result| result.unwrap_or_else(|panic| Err(Error::internal(panic)))).boxed().shared();
        first.insert(fetch).clone()
    }

    /// The copy that is kept, if there is one already. An old one is refreshed meanwhile.
    pub fn kept(&self) -> Option<Arc<Copy>> {
        let copy = self.shared.copy.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if copy.age() >= FRESH {
            self.refresh();
        }
        Some(copy)
    }

    /// The same error; if it is about a model that there isn't, with names that are near.
    pub async fn suggest(&self, id: &str, error: Error) -> Error {
        if error.code() != "model_not_found" {
            return error;
        }
        match self.get_soon().await {
            Some(copy) => error.with_suggestions(&copy.suggestions(id)),
            // Without the catalogue the error is as true as with it.
            None => error,
        }
    }

    /// How many tokens a model can hold, if the catalogue comes soon and knows.
    pub async fn context_length(&self, id: &str) -> Option<i32> {
        self.get_soon().await?.model(id)?.context_length
    }

    /// The catalogue, for what can do without it: nobody waits for it who would only wait in vain.
    pub async fn get_soon(&self) -> Option<Arc<Copy>> {
        let copy = self.kept();
        if copy.is_some() || self.has_failed_lately() {
            return copy;
        }
        let soon = tokio::time::timeout(SOON, self.get(Ask::default())).await;
        if soon.is_err() {
            self.note_failure(Some(Instant::now()));
        }
        soon.ok()?.ok()
    }

    fn has_failed_lately(&self) -> bool {
        let failed_at = *self.shared.failed_at.read().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }

    fn note_failure(&self, failed_at: Option<Instant>) {
        *self.shared.failed_at.write().unwrap_or_else(PoisonError::into_inner) = failed_at;
    }

    fn keep(&self, copy: Copy) -> Arc<Copy> {
        writer::log_skipped(copy.skipped);
        let copy = Arc::new(copy);
        *self.shared.copy.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&copy));
        copy
    }

    fn refresh(&self) {
        if self.has_failed_lately() || self.shared.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let catalogue = self.clone();
        // A task of its own, so that no caller waits for it, nor ends it by leaving.
        tokio::spawn(async move {
            let fresh = catalogue.upstream.get_text(&["models"], Ask::default()).await;
            let failed_at = match fresh.and_then(|text| Copy::new(&text, &catalogue.names)) {
                Ok(copy) => {
                    catalogue.keep(copy);
                    None
                }
                Err(error) => {
                    tracing::warn!(code = error.code(), "the catalogue could not be refreshed; the last copy is kept");
                    Some(Instant::now())
                }
            };
            catalogue.note_failure(failed_at);
            catalogue.shared.refreshing.store(false, Ordering::Release);
        });
    }
}
