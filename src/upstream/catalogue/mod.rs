//! The catalogue of models: fetched once, kept, and refreshed in the background.
//!
//! It is kept as text (each model in our own JSON form) with a small index beside it: 22,000 models
//! as messages would take several times as much memory, and a page shows a hundred of them. The
//! catalogue advises, it forbids nothing: a model that it doesn't have is still asked for upstream.
//! [`Catalogue`] is the handle, [`struct@Snapshot`] what it hands out, `writer` makes one of the
//! upstream's list, `fetch` says when to ask for it, and `near` which ids to suggest.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{client::Client, model_names::ModelNames, options::RequestOptions};
use crate::error::{Error, ErrorCode, Result};

mod fetch;
mod snapshot;
mod suggestions;
mod writer;

use fetch::{Fetch, Fetches};
pub use snapshot::{Page, Snapshot};
pub use writer::keep_models;

/// How old the catalogue may be before it is refreshed, while callers still get the old one.
const FRESH: Duration = Duration::from_secs(600);

/// How long a fetch may have been under way when those stop waiting for it whose answer it could
/// only add to.
const SOON: Duration = Duration::from_secs(2);

/// How long one fetch may take, from the request to the copy.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// The catalogue of an upstream. Cheap to clone; all clones share one copy.
#[derive(Clone)]
pub struct Catalogue {
    upstream: Client,
    names: ModelNames,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    copy: RwLock<Option<Arc<Snapshot>>>,
    fetches: Fetches,
}

fn too_late() -> Error {
    Error::deadline_exceeded("the list of models had arrived")
}

fn too_slow() -> Error {
    let message = format!(
        "Featherless's list of models took longer than {} s to come: try again",
        FETCH_TIMEOUT.as_secs()
    );
    Error::new(ErrorCode::UpstreamTimeout, message)
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The catalogue of this upstream by these names, not fetched yet.
    pub fn new(upstream: Client, names: ModelNames) -> Self {
        Self {
            upstream,
            names,
            shared: Arc::default(),
        }
    }

    /// What models are called here.
    pub fn names(&self) -> &ModelNames {
        &self.names
    }

    /// The copy that is kept, fetched first if there is none. An old one is refreshed in the
    /// background.
    ///
    /// # Errors
    /// What the upstream's reply to a fetch means that began after this was called, or was under
    /// way; Timeout if it took too long; never for a refresh.
    pub async fn get(&self, ask: RequestOptions<'_>) -> Result<Arc<Snapshot>> {
        if let Some(copy) = self.kept() {
            return Ok(copy);
        }
        let copy = self.fetched();
        match ask.deadline {
            Some(deadline) => timeout_at(deadline, copy)
                .await
                .unwrap_or_else(|_| Err(too_late())),
            None => copy.await,
        }
    }

    async fn fetched(&self) -> Result<Arc<Snapshot>> {
        let asked_at = Instant::now();
        let fetch = self.fetch_at_once();
        let began_at = fetch.began_at;
        match fetch.copy.await {
            // It may have begun when the upstream was still out of order.
            Err(_) if began_at < asked_at => self.fetch_at_once().copy.await,
            copy => copy,
        }
    }

    /// The copy that is kept, if there is one already. An old one is refreshed in the background.
    pub fn kept(&self) -> Option<Arc<Snapshot>> {
        let copy = self
            .shared
            .copy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        if copy.age() >= FRESH {
            self.shared.fetches.refresh(|| self.fetch());
        }
        Some(copy)
    }

    /// The same error; if it is about a model that there isn't, with names that are near.
    pub async fn suggest(&self, id: &str, error: Error) -> Error {
        if !error.is_model_not_found() {
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
    pub async fn get_soon(&self) -> Option<Arc<Snapshot>> {
        if let Some(copy) = self.kept() {
            return Some(copy);
        }
        let fetch = self.shared.fetches.advise(|| self.fetch())?;
        timeout_at(fetch.began_at + SOON, fetch.copy)
            .await
            .ok()?
            .ok()
    }

    fn fetch_at_once(&self) -> Fetch {
        self.shared.fetches.demand(|| self.fetch())
    }

    /// One fetch, not begun yet.
    fn fetch(&self) -> impl Future<Output = Result<Arc<Snapshot>>> + Send + use<> {
        let catalogue = self.clone();
        async move {
            let fetch = async {
                let text = catalogue
                    .upstream
                    .get_text(&["models"], RequestOptions::default())
                    .await?;
                let names = catalogue.names.clone();
                // Aside: it is several MB.
                let copy = tokio::task::spawn_blocking(move || Snapshot::new(&text, &names)).await;
                copy.map_err(Error::internal)?
            };
            let copy = tokio::time::timeout(FETCH_TIMEOUT, fetch)
                .await
                .unwrap_or_else(|_| Err(too_slow()));
            match copy {
                Ok(copy) => Ok(catalogue.keep(copy)),
                Err(error) => {
                    if catalogue
                        .shared
                        .copy
                        .read()
                        .unwrap_or_else(PoisonError::into_inner)
                        .is_some()
                    {
                        let code = error.code();
                        tracing::warn!(
                            code,
                            "the catalogue could not be refreshed; the last copy is kept"
                        );
                    }
                    Err(error)
                }
            }
        }
    }

    fn keep(&self, copy: Snapshot) -> Arc<Snapshot> {
        writer::log_skipped(copy.skipped);
        let copy = Arc::new(copy);
        *self
            .shared
            .copy
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&copy));
        copy
    }
}
