//! The options for models: fallbacks, names, and circuits.

use std::time::Duration;

use clap::Args;

use super::{
    fallback::{Fallback, fallback},
    heading,
    naming::{Alias, AliasList, Glob, alias_list, glob},
    values::duration,
};

/// What to do when models fail. The default does nothing.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::MODELS)]
pub struct Models {
    /// Other models that answer when this one fails before the caller has seen anything of its
    /// answer: no capacity, cold, silent, broken, gated, not on the plan, or the context too long.
    /// In order; may be given more than once (in the variable: with semicolons between). A call's
    /// own list, in the header or metadata `x-featherwire-fallback`, counts instead
    #[arg(
        long = "fallback",
        env = "FEATHERWIRE_FALLBACKS",
        value_name = "MODEL=OTHER,…",
        value_delimiter = ';',
        value_parser = fallback
    )]
    pub fallbacks: Vec<Fallback>,

    /// Longest wait for the first token (or the headers) of a model with a fallback after it, if
    /// that is shorter than `--first-token-timeout`. The default is a little less than the time
    /// after which Featherless's front end ends silent calls, so that no answer is lost
    /// that would still have arrived
    #[arg(
        long,
        env = "FEATHERWIRE_FALLBACK_FIRST_TOKEN_TIMEOUT",
        value_name = "TIME",
        default_value = "90s",
        value_parser = duration
    )]
    pub fallback_first_token_timeout: Duration,

    /// Other names for models: shown in lists, and taken wherever a model's id is. May be given
    /// more than once (in the variable: with commas or semicolons between)
    #[arg(
        long = "alias",
        env = "FEATHERWIRE_ALIASES",
        value_name = "NAME=MODEL",
        value_parser = alias_list
    )]
    pub aliases: Vec<AliasList>,

    /// The models that lists, searches and suggestions show, besides the aliases: ids with `*` for
    /// any text and `?` for any character, comma-separated. Others can be asked for all the same.
    /// Unset: all
    #[arg(
        long = "expose-models",
        env = "FEATHERWIRE_EXPOSE_MODELS",
        value_name = "GLOB,…",
        value_delimiter = ',',
        value_parser = glob
    )]
    pub expose_models: Vec<Glob>,

    /// After this number of failures in a row, a model gets no calls for a while. They go to their
    /// fallbacks or fail at once; 0 for never
    #[arg(
        long,
        env = "FEATHERWIRE_CIRCUIT_FAILURES",
        value_name = "N",
        default_value_t = 5
    )]
    pub circuit_failures: u32,

    /// How long a model gets no calls before one call probes it; doubled after each probe that
    /// fails, up to 2 minutes
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
    /// Checks what concerns several aliases.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check(&self) -> Result<(), String> {
        let aliases = || self.aliases.iter().flat_map(|list| &list.0);
        for (place, Alias { name, model }) in aliases().enumerate() {
            if name == model {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): {name}={model} names itself; leave it out"
                ));
            }
            if aliases().skip(place + 1).any(|other| other.name == *name) {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): {name} is given twice, but an alias stands \
                     for one model; leave one of them out"
                ));
            }
            if aliases().any(|other| other.name == *model) {
                return Err(format!(
                    "FEATHERWIRE_ALIASES (--alias): in {name}={model}, {model} is an alias too; \
                     name the model that it stands for instead"
                ));
            }
        }
        Ok(())
    }
}
