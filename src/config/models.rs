//! The options for models: fallbacks, names, and circuits.

use std::time::Duration;

use clap::Args;

use super::{
    fallback::{Fallback, fallback},
    heading,
    naming::{Alias, AliasList, Glob, alias_list, glob},
    values::duration,
};

/// The options for models: fallbacks, names and circuits. The default has no fallbacks or aliases.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::MODELS)]
pub struct Models {
    /// Models that answer when MODEL fails before any part of its answer is sent to the caller: no
    /// capacity, cold, silent, broken, gated, not on the plan, or the context is too long. They are
    /// tried in order. The option may be repeated (in the variable: separated by semicolons). The
    /// header or metadata `x-featherwire-fallback` replaces this list for one call
    #[arg(
        long = "fallback",
        env = "FEATHERWIRE_FALLBACKS",
        value_name = "MODEL=OTHER,…",
        value_delimiter = ';',
        value_parser = fallback
    )]
    pub fallbacks: Vec<Fallback>,

    /// Longest wait for the first token (or the headers) of a model that has a fallback after it,
    /// if this is shorter than `--first-token-timeout`. Featherless's front end ends silent calls a
    /// little later than the default
    #[arg(
        long,
        env = "FEATHERWIRE_FALLBACK_FIRST_TOKEN_TIMEOUT",
        value_name = "TIME",
        default_value = "90s",
        value_parser = duration
    )]
    pub fallback_first_token_timeout: Duration,

    /// Other names for models. They are shown in lists and accepted wherever a model's id is. The
    /// option may be repeated (in the variable: separated by commas or semicolons)
    #[arg(
        long = "alias",
        env = "FEATHERWIRE_ALIASES",
        value_name = "NAME=MODEL",
        value_parser = alias_list
    )]
    pub aliases: Vec<AliasList>,

    /// The models that lists, searches and suggestions show, besides the aliases: ids with `*` for
    /// any text and `?` for any character, comma-separated. Other models can still be used. Unset:
    /// all
    #[arg(
        long = "expose-models",
        env = "FEATHERWIRE_EXPOSE_MODELS",
        value_name = "GLOB,…",
        value_delimiter = ',',
        value_parser = glob
    )]
    pub expose_models: Vec<Glob>,

    /// The number of failures in a row after which a model gets no calls for a while. Its calls go
    /// to their fallbacks or fail at once. 0 for never
    #[arg(
        long,
        env = "FEATHERWIRE_CIRCUIT_FAILURES",
        value_name = "N",
        default_value_t = 5
    )]
    pub circuit_failures: u32,

    /// The time for which a failing model gets no calls. Then one call probes it. The time doubles
    /// after each failed probe, up to 2 minutes
    #[arg(
        long,
        env = "FEATHERWIRE_CIRCUIT_WAIT",
        value_name = "TIME",
        default_value = "15s",
        value_parser = duration
    )]
    pub circuit_wait: Duration,
}

impl Models {
    /// Checks the aliases together.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check(&self) -> Result<(), String> {
        let aliases = || self.aliases.iter().flat_map(|list| &list.0);
        for (place, Alias { name, model }) in aliases().enumerate() {
            if name == model {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): {name}={model} is an alias of itself: remove it"
                ));
            }
            if aliases().skip(place + 1).any(|other| other.name == *name) {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): {name} is set twice, but an alias has one \
                     model: remove one of the two"
                ));
            }
            if aliases().any(|other| other.name == *model) {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): in {name}={model}, {model} is an alias too: \
                     write the id of its model instead"
                ));
            }
        }
        Ok(())
    }
}
