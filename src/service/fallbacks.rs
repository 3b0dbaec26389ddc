//! The fallbacks that the configuration names for models.

use std::{collections::BTreeMap, time::Duration};

use crate::{config, upstream::ModelNames};

/// The configured fallbacks.
#[derive(Debug)]
pub(super) struct Fallbacks {
    /// The fallbacks of each model that has some, in order.
    pub(super) by_model: BTreeMap<String, Vec<String>>,
    /// The longest wait for the first token of a model that has a fallback.
    pub(super) first_token_timeout: Duration,
}

impl Fallbacks {
    /// By the upstream's ids, whichever name the caller uses.
    pub(super) fn new(config: &config::Models, names: &ModelNames) -> Self {
        let real = |id: &String| names.resolve(id).to_owned();
        let by_model = config.fallbacks.iter();
        Self {
            by_model: by_model
                .map(|own| (real(&own.model), own.others.iter().map(real).collect()))
                .collect(),
            first_token_timeout: config.fallback_first_token_timeout,
        }
    }
}
