//! All models: lookup by id, filtered lists, and the loading state of each model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::generated_models;
use super::models::{self, Model, Readiness};
use super::refusal::Refusal;

pub struct Catalogue {
    /// The models of the list. Models that are faults are not listed, but can be requested by id.
    models: Vec<Model>,
    positions: HashMap<String, usize>,
    /// The time that a cold model takes to load.
    warm_after: Duration,
    /// The time of the first request for each cold model, by id.
    loading: Mutex<HashMap<String, Instant>>,
}

/// The loading state of a model, as the catalogue shows it.
#[derive(Serialize)]
pub struct Availability {
    pub tier: &'static str,
    pub is_hot_live: bool,
}

impl Catalogue {
    pub fn new(generated: usize, seed: u64, warm_after: Duration) -> Self {
        let models: Vec<Model> = models::seeds()
            .chain(generated_models::models(generated, seed))
            .collect();
        let positions = models
            .iter()
            .enumerate()
            .map(|(index, model)| (model.id.clone(), index));
        Self {
            positions: positions.collect(),
            models,
            warm_after,
            loading: Mutex::default(),
        }
    }

    /// Ids are case-sensitive.
    pub fn find(&self, id: &str) -> Result<Cow<'_, Model>, Refusal> {
        let listed = self
            .positions
            .get(id)
            .and_then(|index| self.models.get(*index))
            .map(Cow::Borrowed);
        listed
            .or_else(|| models::fault_model(id).map(Cow::Owned))
            .ok_or_else(Refusal::model_not_found)
    }

    /// The model with `id`, if the account may use it.
    pub fn usable(&self, id: &str) -> Result<Cow<'_, Model>, Refusal> {
        let model = self.find(id)?;
        if !model.is_on_plan {
            return Err(Refusal::not_on_plan(id));
        }
        if model.is_gated && !model.has_licence {
            return Err(Refusal::gated(id));
        }
        Ok(model)
    }

    /// Refuses the request while the model is not loaded. The first request starts loading it.
    pub fn check_ready(&self, model: &Model) -> Result<(), Refusal> {
        if model.readiness != Readiness::Cold {
            return Ok(());
        }
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *loading.entry(model.id.clone()).or_insert_with(Instant::now);
        if since.elapsed() < self.warm_after {
            Err(Refusal::not_ready(&model.id))
        } else {
            Ok(())
        }
    }

    pub fn availability(&self, model: &Model) -> Option<Availability> {
        let tier = match model.readiness {
            Readiness::Undisclosed => return None,
            Readiness::Hot | Readiness::Warm => "warm",
            Readiness::Cold => self.tier_of_cold(&model.id),
        };
        Some(Availability {
            tier,
            is_hot_live: model.readiness == Readiness::Hot,
        })
    }

    fn tier_of_cold(&self, id: &str) -> &'static str {
        let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        match loading.get(id) {
            None => "cold",
            Some(since) if since.elapsed() < self.warm_after => "loading",
            Some(_) => "warm",
        }
    }

    pub fn list<'a>(&'a self, filter: &'a ListFilter) -> impl Iterator<Item = &'a Model> {
        self.models
            .iter()
            .filter(|model| self.matches(filter, model))
            .skip(filter.skip)
            .take(filter.take)
    }

    fn matches(&self, filter: &ListFilter, model: &Model) -> bool {
        let contains_text = model
            .id
            .to_lowercase()
            .contains(&filter.text.to_lowercase());
        let is_of_family = |family: &String| {
            model
                .model_class
                .starts_with(family.to_lowercase().as_str())
        };
        contains_text
            && (filter.families.is_empty() || filter.families.iter().any(is_of_family))
            && filter.tags.iter().all(|tag| self.has_tag(model, tag))
            && (!filter.only_on_plan || model.is_on_plan)
    }

    fn has_tag(&self, model: &Model, tag: &str) -> bool {
        match tag {
            "tool-use" => model.features.tool_use,
            "vision" => model.vision_supported,
            "moe" => model.is_moe,
            "gated" => model.is_gated,
            tier => self
                .availability(model)
                .is_some_and(|availability| availability.tier == tier),
        }
    }
}

/// The filter of a list of models. An empty list of families or tags matches every model.
#[derive(Debug)]
pub struct ListFilter {
    pub text: String,
    pub families: Vec<String>,
    pub tags: Vec<String>,
    pub only_on_plan: bool,
    pub skip: usize,
    pub take: usize,
}
