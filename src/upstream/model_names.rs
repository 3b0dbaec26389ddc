//! The names of models at the gateway: aliases, and which models lists show. Lists fill menus: a
//! model that they do not show can still be requested.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{config, proto::v1::Model};

/// The aliases, and the patterns of the ids that lists show. Cheap to clone. The default has no
/// alias and shows every model.
#[derive(Clone, Debug, Default)]
pub struct ModelNames(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    exposed: Vec<config::Glob>,
    /// The model of each alias.
    aliases: BTreeMap<String, String>,
    /// The aliases whose models were missing in the last list of upstream.
    dangling: Mutex<BTreeSet<String>>,
}

impl ModelNames {
    /// The names in `config`.
    pub fn new(config: &config::Models) -> Self {
        let aliases = config.aliases.iter().flat_map(|list| &list.0);
        let aliases = aliases
            .map(|alias| (alias.name.clone(), alias.model.clone()))
            .collect();
        Self(Arc::new(Inner {
            exposed: config.expose_models.clone(),
            aliases,
            dangling: Mutex::default(),
        }))
    }

    /// Whether `other` has the same aliases and patterns.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.aliases == other.0.aliases && self.0.exposed == other.0.exposed
    }

    /// The id of a model at upstream. `id` may be an alias.
    pub fn resolve<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.aliases.get(id).map_or(id, String::as_str)
    }

    /// Whether lists show the upstream model `id`. An alias hides a model with the same id, because
    /// the model cannot be requested.
    pub fn shows(&self, id: &str) -> bool {
        let is_exposed =
            self.0.exposed.is_empty() || self.0.exposed.iter().any(|glob| glob.matches(id));
        is_exposed && !self.0.aliases.contains_key(id)
    }

    /// Each alias, and its model.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .aliases
            .iter()
            .map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// Records the `dangling` aliases, whose models are not in the list of upstream. Returns those
    /// that were not dangling before, for the log.
    pub(super) fn record_dangling<'a>(
        &self,
        dangling: impl Iterator<Item = &'a str>,
    ) -> Vec<&'a str> {
        let mut known = self
            .0
            .dangling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let dangling: Vec<_> = dangling.collect();
        let new = dangling
            .iter()
            .filter(|alias| !known.contains(**alias))
            .copied()
            .collect();
        *known = dangling.into_iter().map(str::to_owned).collect();
        new
    }

    /// The upstream's `models` as lists show them: each model after its aliases, and without those
    /// that are not exposed.
    pub fn show(&self, models: Vec<Model>) -> Vec<Model> {
        if self.0.exposed.is_empty() && self.0.aliases.is_empty() {
            return models;
        }
        let mut shown = Vec::with_capacity(models.len());
        for model in models {
            let aliases = self.aliases().filter(|(_, real)| *real == model.id);
            shown.extend(aliases.map(|(alias, _)| Model {
                id: alias.to_owned(),
                ..model.clone()
            }));
            if self.shows(&model.id) {
                shown.push(model);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dangling_alias_is_reported_once_until_its_model_is_found_again() {
        let names = ModelNames::default();
        let new = |dangling: &[&'static str]| names.record_dangling(dangling.iter().copied());
        assert_eq!(new(&["a", "b"]), ["a", "b"]);
        assert_eq!(new(&["a", "b", "c"]), ["c"]);
        assert_eq!(new(&["b"]), [""; 0]);
        assert_eq!(new(&["a", "b"]), ["a"]);
    }
}
