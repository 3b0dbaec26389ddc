//! All models: found by id, or listed by what the caller wants of them.

use std::collections::HashMap;

use super::made_up;
use super::models::{self, Model};
use super::refusal::Refusal;

pub struct Catalogue {
    /// Those that are listed come first; the rest can only be asked for by id.
    models: Vec<Model>,
    listed: usize,
    places: HashMap<String, usize>,
}

impl Catalogue {
    pub fn new(made_up: usize, seed: u64) -> Self {
        let mut models: Vec<Model> = models::seeds().chain(made_up::models(made_up, seed)).collect();
        let listed = models.len();
        models.extend(models::spoilt());
        let places = models.iter().enumerate().map(|(place, model)| (model.id.clone(), place));
        Self { places: places.collect(), listed, models }
    }

    /// Ids are case-sensitive.
    pub fn find(&self, id: &str) -> Result<&Model, Refusal> {
        let found = self.places.get(id).and_then(|place| self.models.get(*place));
        found.ok_or_else(Refusal::model_not_found)
    }

    pub fn list<'a>(&'a self, wanted: &'a Wanted) -> impl Iterator<Item = &'a Model> {
        let all = self.models.iter().take(self.listed);
        all.filter(|model| wanted.admits(model)).skip(wanted.skip).take(wanted.take)
    }
}

/// What a caller wants listed; an empty list of names admits every model.
#[derive(Debug)]
pub struct Wanted {
    pub text: String,
    pub families: Vec<String>,
    pub tags: Vec<String>,
    pub only_on_plan: bool,
    pub skip: usize,
    pub take: usize,
}

impl Wanted {
    fn admits(&self, model: &Model) -> bool {
        let contains_text = model.id.to_lowercase().contains(&self.text.to_lowercase());
        let is_of_family = |family: &String| model.model_class.starts_with(family.to_lowercase().as_str());
        contains_text
            && (self.families.is_empty() || self.families.iter().any(is_of_family))
            && self.tags.iter().all(|tag| has_tag(model, tag))
            && (!self.only_on_plan || model.is_on_plan)
    }
}

fn has_tag(model: &Model, tag: &str) -> bool {
    match tag {
        "tool-use" => model.features.tool_use,
        "vision" => model.vision_supported,
        "moe" => model.is_moe,
        "gated" => model.is_gated,
        tier => model.availability.tier == tier,
    }
}
