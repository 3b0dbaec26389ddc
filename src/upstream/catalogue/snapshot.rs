//! The catalogue as it was at one time: text, and an index of it.

use std::{io::Write, ops::Range, time::Duration};

use bytes::Bytes;
use tokio::{sync::OnceCell, time::Instant};

use super::suggestions::SimilarIds;
use crate::{
    error::{Error, Result},
    json,
    proto::v1::{Model, ModelFilter},
};

/// The catalogue as it was at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// The list of the models that are shown, as a JSON document in our form and the upstream's
    /// order, the aliases last; then the models that are not shown.
    pub(super) text: Bytes,
    /// How much of the text is the list.
    pub(super) list_bytes: usize,
    /// The list, compressed when a caller asked for that.
    pub(super) gzip: OnceCell<Bytes>,
    /// All ids in lower case, one after the other.
    pub(super) lower_ids: String,
    /// In the order of ids.
    pub(super) entries: Vec<Entry>,
    /// Finds those that are shown, by ids that are only near.
    pub(super) near: SimilarIds,
    /// How many entries of the upstream's list were no models, and are left out.
    pub(super) skipped: usize,
    pub(super) fetched_at: Instant,
}

/// What filters and pages need to know of a model.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Box<str>,
    pub(super) class: Box<str>,
    pub(super) text: Range<u32>,
    pub(super) lower_id: Range<u32>,
    pub(super) gated: Option<bool>,
    pub(super) available: Option<bool>,
    /// The concurrency units that a request to it holds.
    pub(super) cost: Option<u32>,
    /// Whether lists and suggestions name it.
    pub(super) is_shown: bool,
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

impl Snapshot {
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

    /// The same, compressed by gzip: once for all who ask, and aside, since several MB take a
    /// while.
    ///
    /// # Errors
    /// Internal, if there is no thread for it.
    pub async fn list_gzip(&self) -> Result<Bytes> {
        let compress = async || {
            let list = self.list();
            tokio::task::spawn_blocking(move || gzip(&list))
                .await
                .map_err(Error::internal)?
        };
        self.gzip.get_or_try_init(compress).await.cloned()
    }

    /// One model.
    pub fn model(&self, id: &str) -> Option<Model> {
        self.read(self.entry(id)?)
    }

    /// What tells how many concurrency units a model costs: its cost, if that is known, and its
    /// class.
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

    /// The models after this id that pass the filter, in the order of ids, so many at most.
    pub fn page(&self, filter: &ModelFilter, after: Option<&str>, size: usize) -> Page {
        let matcher = Matcher::new(filter);
        let (mut shown, mut total, mut has_more) = (Vec::new(), 0, false);
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.is_shown && matcher.passes(entry, self.lower_id(entry)))
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

    /// Ids that are near this one, which there isn't, the nearest first. Cheap whatever the id is.
    pub fn suggestions(&self, id: &str) -> Vec<String> {
        let entry = |position: u32| self.entries.get(position as usize);
        let found = self.near.find(id, |position| {
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
