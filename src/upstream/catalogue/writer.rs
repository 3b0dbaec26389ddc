//! Makes a snapshot of upstream's list of models, one model at a time.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    snapshot::{Entry, LIST_BEGINS, LIST_ENDS, Snapshot},
    source::{CatalogueSource, List},
    suggestions::SimilarIds,
};
use crate::{
    error::{Error, Result},
    json::{self, JsonError},
    proto::v1::{ListModelsResponse, Model, limits},
    upstream::{
        error::{from_event, local::bad_answer},
        model_names::ModelNames,
    },
};

/// The most models in a list.
const MODELS_MAX: usize = limits::LIST_MODELS_RESPONSE_MODELS.max;

impl Snapshot {
    /// Makes a snapshot of upstream's `answer`, with the aliases and patterns of `names`. Entries
    /// that are not models are skipped and counted.
    ///
    /// # Errors
    /// [`Kind::Upstream`](crate::error::Kind::Upstream) if the answer is not a list of models. For
    /// an error inside a successful reply, the kind that the error means.
    pub fn new(answer: &[u8], names: &ModelNames) -> Result<Self> {
        let list = List {
            source: 0,
            text: Bytes::copy_from_slice(answer),
        };
        Self::of(&[list], &[CatalogueSource::default()], names)
    }

    /// The same of the lists of several upstreams.
    pub(super) fn of(
        lists: &[List],
        sources: &[CatalogueSource],
        names: &ModelNames,
    ) -> Result<Self> {
        let bytes = lists.iter().map(|list| list.text.len()).sum();
        let (mut parsed, mut failure) = (Vec::new(), None);
        for list in lists {
            match entries(&list.text) {
                Ok(entries) => parsed.push((list.source, entries)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // The lists of other upstreams are of use without it.
        if let Some(error) = failure.filter(|_| parsed.is_empty()) {
            return Err(error);
        }
        let models = parsed.iter().map(|(_, entries)| entries.len()).sum();
        let mut writer = Writer::with_capacity(bytes, models);
        writer.is_partial = parsed.len() < sources.len();
        // With one upstream, entries with the same id are found at the end.
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut dangling: BTreeSet<(&str, &str)> = names.aliases().collect();
        let mut aliased = Vec::new();
        let raw = parsed
            .iter()
            .flat_map(|(source, entries)| entries.iter().map(move |entry| (*source, *entry)));
        for (source, raw) in raw {
            let Some(model) = model(raw) else {
                writer.skipped += 1;
                continue;
            };
            let is_accepted = |source: &CatalogueSource| source.accepts(&model.id);
            if !sources.get(source).is_some_and(is_accepted) {
                continue;
            }
            writer.source = source;
            if let Some(place) = known.get(&model.id) {
                writer.add_source(*place, model);
                continue;
            }
            for (alias, real) in names.aliases().filter(|(_, real)| *real == model.id) {
                dangling.remove(&(alias, real));
                aliased.push(Model {
                    id: alias.to_owned(),
                    ..model.clone()
                });
            }
            let (is_shown, place) = (names.shows(&model.id), writer.entries.len());
            writer.add(model, is_shown)?;
            // It is not there if it cannot be encoded.
            if let Some(entry) = writer.entries.get(place).filter(|_| lists.len() > 1) {
                known.insert(entry.id.to_string(), place);
            }
        }
        let new = names.record_dangling(dangling.iter().map(|(alias, _)| *alias));
        for (alias, real) in dangling {
            if new.contains(&alias) {
                tracing::warn!(
                    alias,
                    model = real,
                    "the model of an alias is not in the upstream's list"
                );
            }
            aliased.push(Model {
                id: alias.to_owned(),
                ..Model::default()
            });
        }
        aliased
            .into_iter()
            .try_for_each(|model| writer.add(model, true))?;
        writer.finish()
    }
}

/// The entries of upstream's list.
pub(super) fn entries(answer: &[u8]) -> Result<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        data: json::RawList<'a, MODELS_MAX>,
    }
    let list: Document<'_> = std::str::from_utf8(answer)
        .map_err(|_| JsonError::whole("not UTF-8"))
        .and_then(json::peek)
        .map_err(|problem| from_event(answer, None).unwrap_or_else(|| bad_answer(&problem)))?;
    Ok(list.data.0)
}

/// An entry of upstream's list as a model: an object with an id. `None` for anything else.
fn model(entry: &RawValue) -> Option<Model> {
    let mut model: Model = json::decode_answer(entry.get().as_bytes()).ok()?;
    set_owner(&mut model);
    has_id(&model).then_some(model)
}

/// Sets the owner of a model, which is the organisation in its id, if upstream does not. OpenAI's
/// schema requires the member. It requires `created` too, but only upstream knows that, the schema
/// allows no null, and strict clients refuse a list without it. So it stays 0, as the contract
/// explains. Any other number would look like a date.
fn set_owner(model: &mut Model) {
    if model.owned_by.is_empty()
        && !model.extra.contains_key("owned_by")
        && let Some((organisation, _)) = model.id.split_once('/')
    {
        organisation.clone_into(&mut model.owned_by);
    }
}

fn has_id(model: &Model) -> bool {
    !model.id.trim().is_empty()
}

/// Removes the entries that are not models from the `answer` to a query, as a snapshot does.
pub fn keep_models(answer: &mut ListModelsResponse) {
    // A list with an entry that is not an object could not be decoded, so it is in `extra`.
    let undecoded: Option<json::RawList<'_, MODELS_MAX>> = answer
        .extra
        .get("data")
        .and_then(|list| json::peek(list).ok());
    let listed = undecoded
        .as_ref()
        .map_or(answer.models.len(), |list| list.0.len());
    match undecoded {
        Some(json::RawList(list)) => {
            answer.models = list.iter().filter_map(|entry| model(entry)).collect();
            answer.extra.remove("data");
        }
        None => {
            answer.models.retain(has_id);
            answer.models.iter_mut().for_each(set_owner);
        }
    }
    log_skipped(listed - answer.models.len());
}

pub(super) fn log_skipped(skipped: usize) {
    if skipped > 0 {
        tracing::warn!(
            skipped,
            "skipped entries of the upstream's list that are not models"
        );
    }
}

/// Writes a snapshot, model by model.
struct Writer {
    shown: Vec<u8>,
    hidden: Vec<u8>,
    lower_ids: String,
    entries: Vec<Entry>,
    skipped: usize,
    /// The source of the models that are added.
    source: usize,
    is_partial: bool,
}

impl Writer {
    fn with_capacity(bytes: usize, models: usize) -> Self {
        let mut shown = Vec::with_capacity(bytes);
        shown.extend_from_slice(LIST_BEGINS);
        Self {
            shown,
            hidden: Vec::new(),
            lower_ids: String::new(),
            entries: Vec::with_capacity(models),
            skipped: 0,
            source: 0,
            is_partial: false,
        }
    }

    /// Adds `model`, or counts it as skipped if it cannot be encoded.
    fn add(&mut self, model: Model, is_shown: bool) -> Result<()> {
        let text = if is_shown {
            &mut self.shown
        } else {
            &mut self.hidden
        };
        let separator_begins = text.len();
        if is_shown && text.len() > LIST_BEGINS.len() {
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
            class: class(model.model_class),
            gated: model.is_gated,
            available: model.available_on_current_plan,
            cost: cost(model.concurrency_cost),
            is_shown,
            sources: bit(self.source),
            cost_source: self.source,
            context_length: model.context_length,
        });
        Ok(())
    }

    /// Notes that the present source has the model at this place too, and what the sources before
    /// it do not tell of the model.
    fn add_source(&mut self, place: usize, model: Model) {
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        entry.sources |= bit(self.source);
        if entry.cost.is_none() {
            (entry.cost, entry.cost_source) = (cost(model.concurrency_cost), self.source);
        }
        if entry.class.is_empty() {
            entry.class = class(model.model_class);
        }
        entry.context_length = entry.context_length.or(model.context_length);
    }

    fn finish(self) -> Result<Snapshot> {
        let Self {
            shown: mut text,
            hidden,
            mut lower_ids,
            mut entries,
            skipped,
            source: _,
            is_partial,
        } = self;
        text.extend_from_slice(LIST_ENDS);
        let list_bytes = text.len();
        for entry in entries.iter_mut().filter(|entry| !entry.is_shown) {
            entry.text = range(
                list_bytes + entry.text.start as usize,
                list_bytes + entry.text.end as usize,
            )?;
        }
        text.extend_from_slice(&hidden);
        text.shrink_to_fit();
        lower_ids.shrink_to_fit();
        // Of two entries with one id, keep the shown one: it is the alias that hides the model.
        entries.sort_by(|a, b| (&a.id, !a.is_shown).cmp(&(&b.id, !b.is_shown)));
        entries.dedup_by(|a, b| a.id == b.id);
        let lower_id = |entry: &Entry| {
            lower_ids.get(entry.lower_id.start as usize..entry.lower_id.end as usize)
        };
        let shown = (0..).zip(&entries).filter(|(_, entry)| entry.is_shown);
        let similar = SimilarIds::new(
            shown.filter_map(|(position, entry)| Some((position, lower_id(entry)?))),
        );
        let (text, fetched_at) = (text.into(), Instant::now());
        Ok(Snapshot {
            text,
            list_bytes,
            gzip: OnceCell::new(),
            zstd: OnceCell::new(),
            lower_ids,
            entries,
            similar,
            skipped,
            fetched_at,
            is_partial,
        })
    }
}

fn class(class: Option<String>) -> Box<str> {
    class.unwrap_or_default().to_lowercase().into()
}

fn cost(cost: Option<i32>) -> Option<u32> {
    cost.and_then(|cost| u32::try_from(cost).ok())
}

/// The bit of a source.
fn bit(source: usize) -> u64 {
    u32::try_from(source)
        .ok()
        .and_then(|source| 1_u64.checked_shl(source))
        .unwrap_or_default()
}

/// Offsets have 32 bits. The bound of an answer is far below that.
fn range(start: usize, end: usize) -> Result<Range<u32>> {
    Ok(u32::try_from(start).map_err(Error::internal)?
        ..u32::try_from(end).map_err(Error::internal)?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(lists: &[Value]) -> Snapshot {
        let sources = vec![CatalogueSource::default(); lists.len()];
        let lists = lists.iter().enumerate().map(|(source, models)| List {
            source,
            text: json!({"object": "list", "data": models}).to_string().into(),
        });
        let lists: Vec<_> = lists.collect();
        Snapshot::of(&lists, &sources, &ModelNames::default()).unwrap()
    }

    #[test]
    fn what_the_first_upstream_does_not_tell_is_as_the_next_one_tells_it() {
        let described = json!([{
            "id": "org/model",
            "concurrency_cost": 4,
            "model_class": "qwen3-32b",
            "context_length": 32768
        }]);
        let other = json!([{"id": "org/model", "concurrency_cost": 2, "context_length": 8192}]);
        let copy = snapshot(&[json!([{"id": "org/model"}]), described, other]);
        assert_eq!(copy.cost("org/model"), Some((Some(4), "qwen3-32b")));
        assert_eq!(copy.context_length("org/model"), Some(32768));
        assert_eq!(copy.sources("org/model"), 0b111);
        let costs = [0, 1, 2].map(|source| copy.cost_at(source, "org/model"));
        assert_eq!(costs, [None, Some(4), None]);
    }
}
