//! The options of an emulator.

use std::{fmt, time::Duration};

use super::switches::Switch;

/// The options of an emulator.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// The rate of generated tokens. 0 means as fast as possible.
    pub tokens_per_second: f64,
    /// The concurrency units of the plan. `None` means no limit.
    pub units: Option<u32>,
    /// The seed of every generated text.
    pub seed: u64,
    /// How many generated models the catalogue has besides the built-in ones. 22,000 gives a
    /// catalogue of the real size.
    pub models: usize,
    /// The only key that is accepted. `None` accepts every key that is not empty.
    pub api_key: Option<String>,
    /// The time that a cold model takes to load after the first request for it.
    pub warm_after: Duration,
    /// The time that the units of a cancelled request stay in use.
    pub release_after: Duration,
    /// The switches to set at the start.
    pub switches: Vec<Switch>,
}

/// The default of [`EmulatorConfig::warm_after`]. Featherless takes 5 minutes to an hour.
pub const WARM_AFTER: Duration = Duration::from_secs(300);

/// The default of [`EmulatorConfig::release_after`]. Featherless takes about this long to notice
/// that a caller has disconnected. The gateway reserves the units of a cancelled request for
/// longer.
pub const RELEASE_AFTER: Duration = Duration::from_millis(200);

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            tokens_per_second: 40.0,
            units: Some(8),
            seed: 0,
            models: 0,
            api_key: None,
            warm_after: WARM_AFTER,
            release_after: RELEASE_AFTER,
            switches: Vec::new(),
        }
    }
}

impl fmt::Debug for EmulatorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A derived implementation would print the key.
        f.debug_struct("EmulatorConfig")
            .field("tokens_per_second", &self.tokens_per_second)
            .field("units", &self.units)
            .field("seed", &self.seed)
            .field("models", &self.models)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("warm_after", &self.warm_after)
            .field("release_after", &self.release_after)
            .field("switches", &self.switches)
            .finish()
    }
}
