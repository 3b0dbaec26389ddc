//! The catalogue of models: fetched once, kept, and refreshed in the background.
//!
//! It is kept as text (each model in our own JSON form) with a small index beside it: 22,000 models as messages would
//! take several times as much memory, and a page shows a hundred of them. The catalogue advises, it forbids nothing:
//! a model that it doesn't have is still asked for upstream.

use std::{
    collections::BTreeSet,
    io::Write,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    client::{Ask, Client},
    failures::bad_answer,
    names::Names,
};
use crate::{
    aside,
    error::{Error, Kind, Result},
    json::{self, BadJson},
    proto::v1::{ListModelsResponse, Model, ModelFilter, limits},
};

/// How many models there may be.
const MODELS_MAX: usize = limits::LIST_MODELS_RESPONSE_MODELS.max;

/// How old the catalogue may be before it is refreshed behind the back of whoever asks.
const FRESH: Duration = Duration::from_secs(600);

/// After a refresh that failed, how long to leave the upstream alone.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How many names an unknown model's error suggests.
const SUGGESTIONS_MAX: usize = 3;

/// How long an answer may wait for what the catalogue could add to it.
const SOON: Duration = Duration::from_secs(2);

/// How alike two names must be to be worth suggesting, from 0 to 1 (Jaro-Winkler).
const LIKENESS_MIN: f64 = 0.85;

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

/// Several MB take a while to be read.
fn copy_of(text: &Bytes, names: &Names) -> Result<Copy> {
    aside::here(text.len(), || Copy::new(text, names))
}

fn too_late() -> Error {
    let message = "The caller's own deadline passed before the catalogue had come: allow more time, or try again soon";
    Error::new(Kind::Timeout, "deadline_exceeded", message)
}

/// The catalogue as it was at one time.
#[derive(Debug)]
pub struct Copy {
    /// The list of the models that are shown, as a JSON document in our form and the upstream's order, the aliases last;
    /// then the models that are not shown.
    text: Bytes,
    /// How much of the text is the list.
    list_bytes: usize,
    /// The list, compressed when somebody asked for that.
    gzip: OnceCell<Bytes>,
    /// All ids in lower case, one after the other.
    lower_ids: String,
    /// In the order of ids.
    entries: Vec<Entry>,
    /// How many entries of the upstream's list were no models, and are left out.
    skipped: usize,
    fetched_at: Instant,
}

/// What filters and pages need to know of a model.
#[derive(Debug)]
struct Entry {
    id: Box<str>,
    class: Box<str>,
    text: Range<u32>,
    lower_id: Range<u32>,
    gated: Option<bool>,
    available: Option<bool>,
    /// The concurrency units that a request to it holds.
    cost: Option<u32>,
    /// Whether lists and suggestions name it.
    is_shown: bool,
}

/// One page of models, and how many there are in all.
#[derive(Debug)]
pub struct Page {
    /// The models.
    pub models: Vec<Model>,
    /// How many pass the filter.
    pub total: usize,
    /// Whether there are more after these.
    pub has_more: bool,
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
            let copy = text.and_then(|text| copy_of(&text, &catalogue.names)).map(|copy| catalogue.keep(copy));
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
        log_skipped(copy.skipped);
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
            let failed_at = match fresh.and_then(|text| copy_of(&text, &catalogue.names)) {
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

impl Copy {
    /// Makes a copy of the upstream's answer, one model at a time, by these names. What is no model in it is left out and
    /// counted.
    ///
    /// # Errors
    /// An answer that isn't a list of models; if it is an error that calls itself a success, what it says.
    pub fn new(answer: &[u8], names: &Names) -> Result<Self> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            data: json::Unread<'a, MODELS_MAX>,
        }
        let list: List<'_> = std::str::from_utf8(answer)
            .map_err(|_| BadJson::whole("not UTF-8"))
            .and_then(json::peek)
            .map_err(|problem| Error::from_event(answer, None).unwrap_or_else(|| bad_answer(&problem)))?;
        let mut writer = Writer::with_capacity(answer.len(), list.data.0.len());
        let mut without: BTreeSet<(&str, &str)> = names.aliases().collect();
        let mut aliased = Vec::new();
        for raw in list.data.0 {
            let Some(model) = model(raw) else {
                writer.skipped += 1;
                continue;
            };
            for (alias, real) in names.aliases().filter(|(_, real)| *real == model.id) {
                without.remove(&(alias, real));
                aliased.push(Model { id: alias.to_owned(), ..model.clone() });
            }
            let is_shown = names.shows(&model.id);
            writer.add(model, is_shown)?;
        }
        for (alias, real) in without {
            tracing::warn!(alias, model = real, "the model of an alias is not in the catalogue");
            aliased.push(Model { id: alias.to_owned(), ..Model::default() });
        }
        aliased.into_iter().try_for_each(|model| writer.add(model, true))?;
        writer.finish()
    }

    /// How long ago it was fetched.
    pub fn age(&self) -> Duration {
        self.fetched_at.elapsed()
    }

    /// How many models there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All models that are shown, as a JSON document, in the upstream's order.
    pub fn list(&self) -> Bytes {
        self.text.slice(..self.list_bytes)
    }

    /// The same, compressed by gzip: once for all who ask, and aside, since several MB take a while.
    ///
    /// # Errors
    /// Internal, if there is no thread for it.
    pub async fn list_gzip(&self) -> Result<Bytes> {
        let compress = async || {
            let list = self.list();
            tokio::task::spawn_blocking(move || gzip(&list)).await.map_err(Error::internal)?
        };
        self.gzip.get_or_try_init(compress).await.cloned()
    }

    /// One model.
    pub fn model(&self, id: &str) -> Option<Model> {
        self.read(self.entry(id)?)
    }

    /// What tells how many concurrency units a model costs: its cost, if that is known, and its class.
    pub fn cost(&self, id: &str) -> Option<(Option<u32>, &str)> {
        let entry = self.entry(id)?;
        Some((entry.cost, &entry.class))
    }

    fn entry(&self, id: &str) -> Option<&Entry> {
        let place = self.entries.binary_search_by(|entry| (*entry.id).cmp(id)).ok()?;
        self.entries.get(place)
    }

    /// The models after this id that pass the filter, in the order of ids, so many at most.
    pub fn page(&self, filter: &ModelFilter, after: Option<&str>, size: usize) -> Page {
        let matcher = Matcher::new(filter);
        let (mut shown, mut total, mut has_more) = (Vec::new(), 0, false);
        for entry in self.entries.iter().filter(|entry| entry.is_shown && matcher.passes(entry, self.lower_id(entry))) {
            total += 1;
            if after.is_none_or(|after| &*entry.id > after) {
                if shown.len() < size {
                    shown.push(entry);
                } else {
                    has_more = true;
                }
            }
        }
        Page { models: shown.into_iter().filter_map(|entry| self.read(entry)).collect(), total, has_more }
    }

    fn suggestions(&self, id: &str) -> Vec<String> {
        let id = id.to_lowercase();
        let name = id.rsplit('/').next().unwrap_or_default();
        let mut near: Vec<(f64, &str)> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.is_shown) {
            let lower = self.lower_id(entry);
            let likeness = if lower == id {
                1.0
            } else {
                let its_name = lower.rsplit('/').next().unwrap_or_default();
                strsim::jaro_winkler(&id, lower).max(strsim::jaro_winkler(name, its_name))
            };
            if likeness >= LIKENESS_MIN {
                near.push((likeness, &entry.id));
            }
        }
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        near.into_iter().take(SUGGESTIONS_MAX).map(|(_, id)| id.to_owned()).collect()
    }

    fn read(&self, entry: &Entry) -> Option<Model> {
        json::decode_answer(self.text.get(entry.text.start as usize..entry.text.end as usize)?).ok()
    }

    fn lower_id(&self, entry: &Entry) -> &str {
        self.lower_ids.get(entry.lower_id.start as usize..entry.lower_id.end as usize).unwrap_or_default()
    }
}

/// An entry of the upstream's list as a model: an object with an id that can be asked for. None for anything else.
fn model(entry: &RawValue) -> Option<Model> {
    let model: Model = json::decode_answer(entry.get().as_bytes()).ok()?;
    has_id(&model).then_some(model)
}

fn has_id(model: &Model) -> bool {
    !model.id.trim().is_empty()
}

/// Leaves out of an answer to a query what is no model in it, as the whole catalogue does.
pub fn keep_models(answer: &mut ListModelsResponse) {
    // A list with something in it that is no object could not be read as one, and was kept as it came.
    let odd: Option<json::Unread<'_, MODELS_MAX>> = answer.extra.get("data").and_then(|list| json::peek(list).ok());
    let listed = odd.as_ref().map_or(answer.models.len(), |list| list.0.len());
    match odd {
        Some(json::Unread(list)) => {
            answer.models = list.iter().filter_map(|entry| model(entry)).collect();
            answer.extra.remove("data");
        }
        None => answer.models.retain(has_id),
    }
    log_skipped(listed - answer.models.len());
}

fn log_skipped(skipped: usize) {
    if skipped > 0 {
        tracing::warn!(skipped, "the upstream's list of models has entries that are no models; they are left out");
    }
}

/// Writes a copy, model by model.
struct Writer {
    shown: Vec<u8>,
    hidden: Vec<u8>,
    lower_ids: String,
    entries: Vec<Entry>,
    skipped: usize,
}

impl Writer {
    const LIST_BEGINS: &'static [u8] = br#"{"object":"list","data":["#;
    const LIST_ENDS: &'static [u8] = b"]}";

    fn with_capacity(bytes: usize, models: usize) -> Self {
        let mut shown = Vec::with_capacity(bytes);
        shown.extend_from_slice(Self::LIST_BEGINS);
        Self { shown, hidden: Vec::new(), lower_ids: String::new(), entries: Vec::with_capacity(models), skipped: 0 }
    }

    /// Adds a model, or counts it as skipped if it can't be written.
    fn add(&mut self, model: Model, is_shown: bool) -> Result<()> {
        let text = if is_shown { &mut self.shown } else { &mut self.hidden };
        let separator_begins = text.len();
        if is_shown && text.len() > Self::LIST_BEGINS.len() {
            text.push(b',');
        }
        let (text_begins, id_begins) = (text.len(), self.lower_ids.len());
        if json::encode_answer(&model, text).is_err() {
            text.truncate(separator_begins);
            self.skipped += 1;
            return Ok(());
        }
        self.lower_ids.push_str(&model.id.to_lowercase());
        self.entries.push(Entry {
            text: range(text_begins, text.len())?,
            lower_id: range(id_begins, self.lower_ids.len())?,
            id: model.id.into(),
            class: model.model_class.unwrap_or_default().to_lowercase().into(),
            gated: model.is_gated,
            available: model.available_on_current_plan,
            cost: model.concurrency_cost.and_then(|cost| u32::try_from(cost).ok()),
            is_shown,
        });
        Ok(())
    }

    fn finish(self) -> Result<Copy> {
        let Self { shown: mut text, hidden, mut lower_ids, mut entries, skipped } = self;
        text.extend_from_slice(Self::LIST_ENDS);
        let list_bytes = text.len();
        for entry in entries.iter_mut().filter(|entry| !entry.is_shown) {
            entry.text = range(list_bytes + entry.text.start as usize, list_bytes + entry.text.end as usize)?;
        }
        text.extend_from_slice(&hidden);
        text.shrink_to_fit();
        lower_ids.shrink_to_fit();
        // Of two with one id the shown one counts: an alias, and the model that it hides.
        entries.sort_by(|a, b| (&a.id, !a.is_shown).cmp(&(&b.id, !b.is_shown)));
        entries.dedup_by(|a, b| a.id == b.id);
        let fetched_at = Instant::now();
        Ok(Copy { text: text.into(), list_bytes, gzip: OnceCell::new(), lower_ids, entries, skipped, fetched_at })
    }
}

fn gzip(text: &[u8]) -> Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).map_err(Error::internal)?;
    encoder.finish().map(Bytes::from).map_err(Error::internal)
}

/// A filter, made ready to meet many models.
struct Matcher<'a> {
    filter: &'a ModelFilter,
    search: memchr::memmem::Finder<'static>,
    family: String,
}

impl<'a> Matcher<'a> {
    fn new(filter: &'a ModelFilter) -> Self {
        let search = memchr::memmem::Finder::new(filter.search.to_lowercase().as_bytes()).into_owned();
        Self { filter, search, family: filter.family.to_lowercase() }
    }

    fn passes(&self, entry: &Entry, lower_id: &str) -> bool {
        self.filter.gated.is_none_or(|gated| entry.gated == Some(gated))
            && self.filter.available_on_current_plan.is_none_or(|available| entry.available == Some(available))
            && entry.class.starts_with(&self.family)
            && self.search.find(lower_id.as_bytes()).is_some()
    }
}

/// Offsets are 32 bits: an answer is bounded well below that.
fn range(start: usize, end: usize) -> Result<Range<u32>> {
    Ok(u32::try_from(start).map_err(Error::internal)?..u32::try_from(end).map_err(Error::internal)?)
}
