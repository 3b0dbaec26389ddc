//! Makes a copy of the upstream's list of models, one model at a time.

use std::{collections::BTreeSet, ops::Range};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    snapshot::{Entry, Snapshot},
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

/// How many models there may be.
const MODELS_MAX: usize = limits::LIST_MODELS_RESPONSE_MODELS.max;

impl Snapshot {
    /// Makes a copy of the upstream's answer, one model at a time, by these names. What is no model
    /// in it is left out and counted.
    ///
    /// # Errors
    /// An answer that isn't a list of models; if it is an error that calls itself a success, what
    /// it says.
    pub fn new(answer: &[u8], names: &ModelNames) -> Result<Self> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            data: json::RawList<'a, MODELS_MAX>,
        }
        let list: List<'_> = std::str::from_utf8(answer)
            .map_err(|_| JsonError::whole("not UTF-8"))
            .and_then(json::peek)
            .map_err(|problem| from_event(answer, None).unwrap_or_else(|| bad_answer(&problem)))?;
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
                aliased.push(Model {
                    id: alias.to_owned(),
                    ..model.clone()
                });
            }
            let is_shown = names.shows(&model.id);
            writer.add(model, is_shown)?;
        }
        let news = names.record_dangling(without.iter().map(|(alias, _)| *alias));
        for (alias, real) in without {
            if news.contains(&alias) {
                tracing::warn!(
                    alias,
                    model = real,
                    "the model of an alias is not in the catalogue"
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

/// An entry of the upstream's list as a model: an object with an id that can be asked for. None for
/// anything else.
fn model(entry: &RawValue) -> Option<Model> {
    let mut model: Model = json::decode_answer(entry.get().as_bytes()).ok()?;
    name_owner(&mut model);
    has_id(&model).then_some(model)
}

/// ModelNames the owner of a model where upstream doesn't: the organisation in its id. OpenAI's schema
/// requires the member, and an empty one says less than is known. `created` is required too, but
/// nobody else knows it, the schema has no null for it, and strict clients refuse a list without
/// it: it stays 0, which the contract explains. Any other number would pass for a date.
fn name_owner(model: &mut Model) {
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

/// Leaves out of an answer to a query what is no model in it, as the whole catalogue does.
pub fn keep_models(answer: &mut ListModelsResponse) {
    // A list with something in it that is no object could not be read as one, and was kept as it
    // came.
    let odd: Option<json::RawList<'_, MODELS_MAX>> = answer
        .extra
        .get("data")
        .and_then(|list| json::peek(list).ok());
    let listed = odd
        .as_ref()
        .map_or(answer.models.len(), |list| list.0.len());
    match odd {
        Some(json::RawList(list)) => {
            answer.models = list.iter().filter_map(|entry| model(entry)).collect();
            answer.extra.remove("data");
        }
        None => {
            answer.models.retain(has_id);
            answer.models.iter_mut().for_each(name_owner);
        }
    }
    log_skipped(listed - answer.models.len());
}

pub(super) fn log_skipped(skipped: usize) {
    if skipped > 0 {
        tracing::warn!(
            skipped,
            "the upstream's list of models has entries that are no models; they are left out"
        );
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
        Self {
            shown,
            hidden: Vec::new(),
            lower_ids: String::new(),
            entries: Vec::with_capacity(models),
            skipped: 0,
        }
    }

    /// Adds a model, or counts it as skipped if it can't be written.
    fn add(&mut self, model: Model, is_shown: bool) -> Result<()> {
        let text = if is_shown {
            &mut self.shown
        } else {
            &mut self.hidden
        };
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
            cost: model
                .concurrency_cost
                .and_then(|cost| u32::try_from(cost).ok()),
            is_shown,
        });
        Ok(())
    }

    fn finish(self) -> Result<Snapshot> {
        let Self {
            shown: mut text,
            hidden,
            mut lower_ids,
            mut entries,
            skipped,
        } = self;
        text.extend_from_slice(Self::LIST_ENDS);
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
        // Of two with one id the shown one counts: an alias, and the model that it hides.
        entries.sort_by(|a, b| (&a.id, !a.is_shown).cmp(&(&b.id, !b.is_shown)));
        entries.dedup_by(|a, b| a.id == b.id);
        let lower_id = |entry: &Entry| {
            lower_ids.get(entry.lower_id.start as usize..entry.lower_id.end as usize)
        };
        let shown = (0..).zip(&entries).filter(|(_, entry)| entry.is_shown);
        let near = SimilarIds::new(
            shown.filter_map(|(position, entry)| Some((position, lower_id(entry)?))),
        );
        let (text, gzip, fetched_at) = (text.into(), OnceCell::new(), Instant::now());
        Ok(Snapshot {
            text,
            list_bytes,
            gzip,
            lower_ids,
            entries,
            near,
            skipped,
            fetched_at,
        })
    }
}

/// Offsets are 32 bits: an answer is bounded well below that.
fn range(start: usize, end: usize) -> Result<Range<u32>> {
    Ok(u32::try_from(start).map_err(Error::internal)?
        ..u32::try_from(end).map_err(Error::internal)?)
}
