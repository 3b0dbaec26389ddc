//! The options for the emulator.

use std::time::Duration;

use clap::Args;

use super::{
    heading,
    values::{duration, rate},
};

/// The options of the emulator, for `featherwire emulator` and `featherwire serve --emulator`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::EMULATOR)]
pub struct EmulatorOptions {
    /// The emulator's tokens per second; 0 for as fast as possible
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND",
        value_name = "RATE",
        default_value_t = 40.0,
        value_parser = rate
    )]
    pub tokens_per_second: f64,

    /// The emulator's concurrency units; 0 for no limit
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_UNITS",
        value_name = "N",
        default_value_t = 8
    )]
    pub emulator_units: u32,

    /// The emulator's seed. The same seed and the same request give the same answer
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_SEED",
        value_name = "N",
        default_value_t = 0
    )]
    pub emulator_seed: u64,

    /// The number of generated models in the emulator's catalogue, besides the built-in models
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_MODELS",
        value_name = "N",
        default_value_t = 0
    )]
    pub emulator_models: usize,

    /// The time that a cold model of the emulator takes to load after the first request for it
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_WARM_AFTER",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration
    )]
    pub emulator_warm_after: Duration,

    /// The time that the units of a cancelled request stay in use at the emulator
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_RELEASE_AFTER",
        value_name = "TIME",
        default_value = "200ms",
        value_parser = duration
    )]
    pub emulator_release_after: Duration,

    /// Faults of the emulator's feed of units, plan or list of models, comma-separated, such as
    /// `feed=ping,models=null-entry`. `featherwire emulator --help` lists all
    #[arg(
        long = "emulator-switch",
        env = "FEATHERWIRE_EMULATOR_SWITCHES",
        value_name = "NAME=VALUE,…",
        value_delimiter = ','
    )]
    pub emulator_switches: Vec<crate::emulator::Switch>,
}
