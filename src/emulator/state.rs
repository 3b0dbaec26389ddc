//! The state of an emulator, which all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    catalogue::Catalogue,
    config::EmulatorConfig,
    faults::Attempts,
    seeded_rng,
    switches::{Switch, Switches},
    units::UnitPool,
};

pub type Shared = Arc<Emulator>;

/// The state of an emulator, which all requests share.
pub struct Emulator {
    pub config: EmulatorConfig,
    pub catalogue: Catalogue,
    pub unit_pool: Arc<UnitPool>,
    pub attempts: Attempts,
    pub switches: Switches,
    /// How many requests of models have got units.
    pub granted: AtomicU64,
    issued_ids: AtomicU64,
}

impl Emulator {
    pub fn new(config: EmulatorConfig) -> Self {
        let emulator = Self {
            catalogue: Catalogue::new(config.models, config.seed, config.warm_after),
            unit_pool: Arc::new(UnitPool::new(config.units, config.release_after)),
            attempts: Attempts::default(),
            switches: Switches::default(),
            granted: AtomicU64::new(0),
            issued_ids: AtomicU64::new(0),
            config,
        };
        for switch in &emulator.config.switches {
            emulator.set(*switch);
        }
        emulator
    }

    /// Sets a switch.
    pub fn set(&self, switch: Switch) {
        self.switches
            .set(switch, |units| self.unit_pool.set_limit(units));
    }

    /// 32 hexadecimal digits, different for each call.
    pub fn unique_hex(&self) -> String {
        let count = self.issued_ids.fetch_add(1, Ordering::Relaxed);
        let high =
            seeded_rng::fingerprint(&[&self.config.seed.to_le_bytes(), &count.to_le_bytes()]);
        // The counter in the low half makes the digits unique. `mix` is a bijection and makes them
        // look random.
        format!("{high:016x}{:016x}", seeded_rng::mix(count))
    }
}
