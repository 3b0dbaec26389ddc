//! The catalogue of models: fetched once, kept, and refreshed in the background.
//!
//! It is kept as text (each model in our own JSON form) with a small index beside it: 22,000 models
//! as messages would take several times as much memory, and a page shows a hundred of them. The
//! catalogue advises, it forbids nothing: a model that it doesn't have is still asked for upstream.
//! [`Catalogue`] is the handle, [`struct@Snapshot`] what it hands out, `writer` makes one of the
//! upstream's list, `fetch` says when to ask for it, and `suggestions` which ids to suggest.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{client::Client, model_names::ModelNames, options::RequestOptions};
use crate::error::{Error, ErrorCode, Result};

mod fetch;
mod snapshot;
mod source;
mod suggestions;
mod writer;

use fetch::{Fetch, Fetches};
pub use snapshot::{Page, Snapshot};
use source::List;
pub use source::{CatalogueSource, LIST_TIMEOUT};
pub use writer::keep_models;

/// The age at which a snapshot is refreshed. Callers still get the old one until the new one is
/// there.
const FRESH_MAX: Duration = Duration::from_secs(600);

/// How long after its begin callers wait for a fetch that only improves their answer.
const OPTIONAL_WAIT_MAX: Duration = Duration::from_secs(2);

/// The longest duration of a fetch, from the request to the snapshot.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// The same for a snapshot that lacks the list of one of several upstreams.
const PARTIAL_FRESH_MAX: Duration = Duration::from_secs(30);

/// The catalogue of all upstreams. Cheap to clone: all clones share one snapshot.
#[derive(Clone)]
pub struct Catalogue {
    sources: Arc<[CatalogueSource]>,
    names: Arc<ArcSwap<ModelNames>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    copy: RwLock<Option<Arc<Snapshot>>>,
    fetches: Fetches,
    /// With several upstreams, the last list of each.
    lists: Mutex<Vec<Option<Bytes>>>,
}

fn too_late() -> Error {
    Error::deadline_exceeded("the list of models had arrived")
}

fn too_slow() -> Error {
    let message = format!(
        "Featherless's list of models took longer than {} s: try again",
        FETCH_TIMEOUT.as_secs()
    );
    Error::new(ErrorCode::UpstreamTimeout, message)
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The catalogue of `upstream`, with the aliases and patterns of `names`. Nothing is fetched
    /// yet.
    pub fn new(upstream: Client, names: ModelNames) -> Self {
        Self::of(vec![CatalogueSource::of(upstream)], names)
    }

    /// The catalogue of several upstreams: all their models. A model of several of them is as the
    /// first one describes it.
    pub fn of(sources: Vec<CatalogueSource>, names: ModelNames) -> Self {
        Self {
            sources: sources.into(),
            names: Arc::new(ArcSwap::from_pointee(names)),
            shared: Arc::default(),
        }
    }

    /// The names of models at the gateway.
    pub fn names(&self) -> ModelNames {
        ModelNames::clone(&self.names.load())
    }

    /// Replaces the names. Lists show them as soon as the list of models has been fetched again,
    /// which begins now if there is one. Call it within a Tokio runtime.
    pub fn set_names(&self, names: ModelNames) {
        self.names.store(Arc::new(names));
        let has_copy = self
            .shared
            .copy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if has_copy {
            self.shared.fetches.refresh(|| self.fetch());
        }
    }

    /// The current snapshot, fetched first if there is none. An old one is refreshed in the
    /// background.
    ///
    /// # Errors
    /// The kind that the upstream's reply means, or
    /// [`Kind::Timeout`](crate::error::Kind::Timeout). A failed refresh is not an error.
    pub async fn get(&self, ask: RequestOptions<'_>) -> Result<Arc<Snapshot>> {
        if let Some(copy) = self.current() {
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
        let starts_at = fetch.starts_at;
        match fetch.result.await {
            // It may have begun before this call, when upstream was still failing.
            Err(_) if starts_at < asked_at => self.fetch_at_once().result.await,
            copy => copy,
        }
    }

    /// The current snapshot, if there is one, however old it is.
    pub fn cached(&self) -> Option<Arc<Snapshot>> {
        let copy = self.shared.copy.read();
        copy.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The current snapshot, if there is one. An old one is refreshed in the background.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        let copy = self.cached()?;
        let fresh_max = match copy.is_partial {
            true => PARTIAL_FRESH_MAX,
            false => FRESH_MAX,
        };
        if copy.age() >= fresh_max {
            self.shared.fetches.refresh(|| self.fetch());
        }
        Some(copy)
    }

    /// Adds similar ids to `error` if it says that the model `id` does not exist.
    pub async fn suggest(&self, id: &str, error: Error) -> Error {
        if !error.is_model_not_found() {
            return error;
        }
        match self.get_soon().await {
            Some(copy) => error.with_suggestions(&copy.suggestions(id)),
            // The error is complete without suggestions.
            None => error,
        }
    }

    /// The context length of the model `id` in tokens, if the catalogue is there soon and has it.
    pub async fn context_length(&self, id: &str) -> Option<i32> {
        self.get_soon().await?.context_length(id)
    }

    /// The snapshot, for callers who can do without it. They do not wait long, and not at all while
    /// fetches fail.
    pub async fn get_soon(&self) -> Option<Arc<Snapshot>> {
        if let Some(copy) = self.current() {
            return Some(copy);
        }
        let fetch = self.shared.fetches.try_start(|| self.fetch())?;
        timeout_at(fetch.starts_at + OPTIONAL_WAIT_MAX, fetch.result)
            .await
            .ok()?
            .ok()
    }

    fn fetch_at_once(&self) -> Fetch {
        self.shared.fetches.require(|| self.fetch())
    }

    /// A fetch that has not begun.
    fn fetch(&self) -> impl Future<Output = Result<Arc<Snapshot>>> + Send + use<> {
        let catalogue = self.clone();
        async move {
            let fetch = async {
                let lists = catalogue.lists().await?;
                let (names, sources) = (catalogue.names(), Arc::clone(&catalogue.sources));
                // On a thread of its own: the list has several MB.
                let copy =
                    tokio::task::spawn_blocking(move || Snapshot::of(&lists, &sources, &names));
                copy.await.map_err(Error::internal)?
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
                            "could not refresh the list of models, keeping the last one"
                        );
                    }
                    Err(error)
                }
            }
        }
    }

    /// The lists of all upstreams. For one of several that fails: its last list, if there is one.
    async fn lists(&self) -> Result<Vec<List>> {
        if let [only] = &*self.sources {
            let text = only.text().await?;
            return Ok(vec![List { source: 0, text }]);
        }
        let texts = join_all(self.sources.iter().map(CatalogueSource::text_in_time)).await;
        let mut last = self
            .shared
            .lists
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.resize(self.sources.len(), None);
        let mut failure = None;
        let mut lists = Vec::new();
        for (source, (text, last)) in texts.into_iter().zip(last.iter_mut()).enumerate() {
            match text {
                Ok(text) => *last = Some(text),
                Err(error) => {
                    let (code, has_last) = (error.code(), last.is_some());
                    tracing::warn!(
                        code,
                        source,
                        has_last,
                        "could not get the list of models of one of several upstreams"
                    );
                    failure = failure.or(Some(error));
                }
            }
            let text = last.clone();
            lists.extend(text.map(|text| List { source, text }));
        }
        match failure {
            Some(error) if lists.is_empty() => Err(error),
            _ => Ok(lists),
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
