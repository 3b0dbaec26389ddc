//! What models are called here: aliases for some, and which of them lists show. Lists are for menus: what they don't show
//! can be asked for all the same.

use std::{collections::BTreeMap, sync::Arc};

use crate::{config, proto::v1::Model};

/// The aliases, and the patterns of the ids that lists show. Cheap to clone. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    exposed: Vec<config::Glob>,
    /// The model of each alias.
    aliases: BTreeMap<String, String>,
}

impl Names {
    /// The names that the configuration has.
    pub fn new(config: &config::Models) -> Self {
        let aliases = config.aliases.iter().flat_map(|list| &list.0);
        let aliases = aliases.map(|alias| (alias.name.clone(), alias.model.clone())).collect();
        Self(Arc::new(Inner { exposed: config.expose_models.clone(), aliases }))
    }

    /// The id by which the upstream knows a model.
    pub fn resolve<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.aliases.get(id).map_or(id, String::as_str)
    }

    /// Whether lists show this model of the upstream's. An alias hides a model of the same id, which nobody can ask for.
    pub fn shows(&self, id: &str) -> bool {
        let is_exposed = self.0.exposed.is_empty() || self.0.exposed.iter().any(|glob| glob.matches(id));
        is_exposed && !self.0.aliases.contains_key(id)
    }

    /// Each alias and its model.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.aliases.iter().map(|(alias, model)| (alias.as_str(), model.as_str()))
    }

    /// A list of the upstream's models as it is shown here: each model after its aliases, and without those that aren't
    /// exposed.
    pub fn show(&self, models: Vec<Model>) -> Vec<Model> {
        if self.0.exposed.is_empty() && self.0.aliases.is_empty() {
            return models;
        }
        let mut shown = Vec::with_capacity(models.len());
        for model in models {
            let aliases = self.aliases().filter(|(_, real)| *real == model.id);
            shown.extend(aliases.map(|(alias, _)| Model { id: alias.to_owned(), ..model.clone() }));
            if self.shows(&model.id) {
                shown.push(model);
            }
        }
        shown
    }
}
