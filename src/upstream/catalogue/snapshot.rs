//! The list of models at one time: its text, and an index.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use tokio::{sync::OnceCell, time::Instant};

use super::suggestions::SimilarIds;
use crate::{
    coding::{Coding, Effort},
    error::{Error, Result},
    json,
    proto::v1::{Model, ModelFilter},
};

/// The beginning and the end of the list as JSON.
pub(super) const LIST_BEGINS: &[u8] = br#"{"object":"list","data":["#;
pub(super) const LIST_ENDS: &[u8] = b"]}";

/// The list of models at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// The list of the shown models as a JSON document, in the order of upstream, with the aliases
    /// last; then the hidden models.
    pub(super) text: Bytes,
    /// How many bytes of the text are the list.
    pub(super) list_bytes: usize,
    /// The compressed lists, each from the first time that a caller asks for it.
    pub(super) gzip: OnceCell<Bytes>,
    pub(super) zstd: OnceCell<Bytes>,
    /// All ids in lower case, concatenated.
    pub(super) lower_ids: String,
    /// Sorted by id.
    pub(super) entries: Vec<Entry>,
    /// Finds shown models by similar ids.
    pub(super) similar: SimilarIds,
    /// How many entries of upstream's list are not models, and were skipped.
    pub(super) skipped: usize,
    pub(super) fetched_at: Instant,
    /// Whether it lacks the models of one of several upstreams.
    pub(super) is_partial: bool,
}

/// What filters and pages need to know about a model.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Box<str>,
    pub(super) class: Box<str>,
    pub(super) text: Range<u32>,
    pub(super) lower_id: Range<u32>,
    pub(super) gated: Option<bool>,
    pub(super) available: Option<bool>,
    /// The concurrency units that a request holds.
    pub(super) cost: Option<u32>,
    /// Whether lists and suggestions name it.
    pub(super) is_shown: bool,
    /// The upstreams that list it: a bit for the index of each.
    pub(super) sources: u64,
    /// The index of the upstream that tells the cost.
    pub(super) cost_source: usize,
    pub(super) context_length: Option<i32>,
}

/// One page of models.
#[derive(Debug)]
pub struct Page {
    /// The models.
    pub models: Vec<Model>,
    /// How many models pass the filter, on all pages.
    pub total: usize,
    /// Whether more models follow.
    pub has_more: bool,
}

impl Snapshot {
    /// The time since it was fetched.
    pub fn age(&self) -> Duration {
        self.fetched_at.elapsed()
    }

    /// The number of models.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All shown models as a JSON document, in the order of upstream.
    pub fn list(&self) -> Bytes {
        self.text.slice(..self.list_bytes)
    }

    /// The shown models that `may_see` as a JSON document, in the order of upstream.
    pub fn list_of(&self, may_see: impl Fn(&str) -> bool) -> Bytes {
        let seen = self
            .entries
            .iter()
            .filter(|entry| entry.is_shown && may_see(&entry.id));
        let mut places: Vec<_> = seen.map(|entry| entry.text.clone()).collect();
        places.sort_unstable_by_key(|place| place.start);
        let mut list = LIST_BEGINS.to_vec();
        for place in places {
            if list.len() > LIST_BEGINS.len() {
                list.push(b',');
            }
            let model = self.text.get(place.start as usize..place.end as usize);
            list.extend_from_slice(model.unwrap_or_default());
        }
        list.extend_from_slice(LIST_ENDS);
        list.into()
    }

    /// [`list`](Self::list), compressed. It is compressed once, on a thread of its own, because
    /// several MB take a while, and with more effort than an answer for one caller.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) if there is no thread.
    pub async fn list_in(&self, coding: Coding) -> Result<Bytes> {
        let compress = async || {
            let list = self.list();
            tokio::task::spawn_blocking(move || coding.compress(Effort::More, &list))
                .await
                .map_err(Error::internal)?
                .map(Bytes::from)
                .map_err(Error::internal)
        };
        let compressed = match coding {
            Coding::Zstd => &self.zstd,
            Coding::Gzip | Coding::Deflate => &self.gzip,
        };
        compressed.get_or_try_init(compress).await.cloned()
    }

    /// The model `id`.
    pub fn model(&self, id: &str) -> Option<Model> {
        self.read(self.entry(id)?)
    }

    /// Whether there is a model `id`.
    pub fn has(&self, id: &str) -> bool {
        self.entry(id).is_some()
    }

    /// The upstreams that list the model `id`: a bit for the index of each. 0 if none does.
    pub fn sources(&self, id: &str) -> u64 {
        self.entry(id).map_or(0, |entry| entry.sources)
    }

    /// The cost of the model `id` in concurrency units, if the upstream with the index `source` is
    /// the first that tells it.
    pub fn cost_at(&self, source: usize, id: &str) -> Option<u32> {
        let entry = self.entry(id)?;
        entry.cost.filter(|_| entry.cost_source == source)
    }

    /// The context length of the model `id` in tokens, if it is known.
    pub fn context_length(&self, id: &str) -> Option<i32> {
        self.entry(id)?.context_length
    }

    /// The cost of the model `id` in concurrency units, if it is known, and its class, which may
    /// tell the cost. Each is that of the first upstream that tells it.
    pub fn cost(&self, id: &str) -> Option<(Option<u32>, &str)> {
        let entry = self.entry(id)?;
        Some((entry.cost, &entry.class))
    }

    fn entry(&self, id: &str) -> Option<&Entry> {
        let place = self
            .entries
            .binary_search_by(|entry| (*entry.id).cmp(id))
            .ok()?;
        self.entries.get(place)
    }

    /// At most `size` models that pass `filter`, that `may_see` and that follow the id `after`,
    /// sorted by id.
    pub fn page(
        &self,
        filter: &ModelFilter,
        may_see: impl Fn(&str) -> bool,
        after: Option<&str>,
        size: usize,
    ) -> Page {
        let matcher = Matcher::new(filter);
        let (mut shown, mut total, mut has_more) = (Vec::new(), 0, false);
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.is_shown && matcher.passes(entry, self.lower_id(entry)))
            .filter(|entry| may_see(&entry.id))
        {
            total += 1;
            if after.is_none_or(|after| &*entry.id > after) {
                if shown.len() < size {
                    shown.push(entry);
                } else {
                    has_more = true;
                }
            }
        }
        Page {
            models: shown
                .into_iter()
                .filter_map(|entry| self.read(entry))
                .collect(),
            total,
            has_more,
        }
    }

    /// Ids that are similar to the unknown `id`, the most similar first. The cost is bounded,
    /// whatever `id` is.
    pub fn suggestions(&self, id: &str) -> Vec<String> {
        let entry = |position: u32| self.entries.get(position as usize);
        let found = self.similar.find(id, |position| {
            entry(position)
                .map(|entry| self.lower_id(entry))
                .unwrap_or_default()
        });
        found
            .0
            .into_iter()
            .filter_map(entry)
            .map(|entry| entry.id.to_string())
            .collect()
    }

    fn read(&self, entry: &Entry) -> Option<Model> {
        json::decode_answer(
            self.text
                .get(entry.text.start as usize..entry.text.end as usize)?,
        )
        .ok()
    }

    fn lower_id(&self, entry: &Entry) -> &str {
        self.lower_ids
            .get(entry.lower_id.start as usize..entry.lower_id.end as usize)
            .unwrap_or_default()
    }
}

/// A filter, prepared for many models.
struct Matcher<'a> {
    filter: &'a ModelFilter,
    search: memchr::memmem::Finder<'static>,
    family: String,
}

impl<'a> Matcher<'a> {
    fn new(filter: &'a ModelFilter) -> Self {
        let search =
            memchr::memmem::Finder::new(filter.search.to_lowercase().as_bytes()).into_owned();
        Self {
            filter,
            search,
            family: filter.family.to_lowercase(),
        }
    }

    fn passes(&self, entry: &Entry, lower_id: &str) -> bool {
        self.filter
            .gated
            .is_none_or(|gated| entry.gated == Some(gated))
            && self
                .filter
                .available_on_current_plan
                .is_none_or(|available| entry.available == Some(available))
            && entry.class.starts_with(&self.family)
            && self.search.find(lower_id.as_bytes()).is_some()
    }
}
