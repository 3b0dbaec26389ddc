//! What models are called here: aliases for some, and which of them lists show. Lists are for
//! menus: what they don't show can be asked for all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{config, proto::v1::Model};

/// The aliases, and the patterns of the ids that lists show. Cheap to clone. The default changes
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    exposed: Vec<config::Glob>,
    /// The model of each alias.
    aliases: BTreeMap<String, String>,
    /// The aliases whose models were not in the catalogue when it was read last.
    lost: Mutex<BTreeSet<String>>,
}

impl Names {
    /// The names that the configuration has.
    pub fn new(config: &config::Models) -> Self {
        let aliases = config.aliases.iter().flat_map(|list| &list.0);
        let aliases = aliases
            .map(|alias| (alias.name.clone(), alias.model.clone()))
            .collect();
        Self(Arc::new(Inner {
            exposed: config.expose_models.clone(),
            aliases,
            lost: Mutex::default(),
        }))
    }

    /// The id by which the upstream knows a model.
    pub fn resolve<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.aliases.get(id).map_or(id, String::as_str)
    }

    /// Whether lists show this model of the upstream's. An alias hides a model of the same id,
    /// which nobody can ask for.
    pub fn shows(&self, id: &str) -> bool {
        let is_exposed =
            self.0.exposed.is_empty() || self.0.exposed.iter().any(|glob| glob.matches(id));
        is_exposed && !self.0.aliases.contains_key(id)
    }

    /// Each alias and its model.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .aliases
            .iter()
            .map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// Takes note of the aliases whose models are not in the catalogue, and returns those of which
    /// that is news.
    pub(super) fn note_lost<'a>(&self, lost: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut known = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let lost: Vec<_> = lost.collect();
        let news = lost
            .iter()
            .filter(|alias| !known.contains(**alias))
            .copied()
            .collect();
        *known = lost.into_iter().map(str::to_owned).collect();
        news
    }

    /// A list of the upstream's models as it is shown here: each model after its aliases, and
    /// without those that aren't exposed.
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
    fn a_lost_alias_is_news_once_until_it_is_found_again() {
        let names = Names::default();
        let news = |lost: &[&'static str]| names.note_lost(lost.iter().copied());
        assert_eq!(news(&["a", "b"]), ["a", "b"]);
        assert_eq!(news(&["a", "b", "c"]), ["c"]);
        assert_eq!(news(&["b"]), [""; 0]);
        assert_eq!(news(&["a", "b"]), ["a"]);
    }
}
