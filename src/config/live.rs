//! The configuration of a running gateway, which can be read again: which options change while it
//! runs, and how its parts learn of a change.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;

use super::serve::Serve;

/// The options that change while the gateway runs, by their members of the configuration file.
pub const LIVE: [&str; 13] = [
    "aliases",
    "api_keys",
    "cors_origins",
    "drain_timeout",
    "expose_models",
    "fallback_first_token_timeout",
    "fallbacks",
    "first_token_timeout",
    "idle_timeout",
    "key_weights",
    "log",
    "log_format",
    "unary_via_stream",
];

/// The options that need a restart.
pub const AT_RESTART: [&str; 66] = [
    "admin_listen",
    "admin_tls_cert",
    "admin_tls_client_ca",
    "admin_tls_client_keys",
    "admin_tls_key",
    "admin_without_tls",
    "app_title",
    "app_url",
    "circuit_failures",
    "circuit_wait",
    "cluster_name",
    "connect_timeout",
    "data_dir",
    "database_url",
    "emulator",
    "emulator_models",
    "emulator_release_after",
    "emulator_seed",
    "emulator_switches",
    "emulator_tokens_per_second",
    "emulator_units",
    "emulator_warm_after",
    "featherless_api_key",
    "featherless_base_url",
    "idle_connection_timeout",
    "ledger_retention",
    "ledger_spill_bytes",
    "listen",
    "max_connection_age",
    "max_connection_age_grace",
    "max_inflight_request_bytes",
    "max_request_bytes",
    "metrics_key_label",
    "otel_bsp_export_timeout",
    "otel_bsp_max_export_batch_size",
    "otel_bsp_max_queue_size",
    "otel_bsp_schedule_delay",
    "otel_exporter_otlp_endpoint",
    "otel_exporter_otlp_headers",
    "otel_exporter_otlp_protocol",
    "otel_exporter_otlp_timeout",
    "otel_exporter_otlp_traces_endpoint",
    "otel_exporter_otlp_traces_headers",
    "otel_exporter_otlp_traces_protocol",
    "otel_exporter_otlp_traces_timeout",
    "otel_resource_attributes",
    "otel_sdk_disabled",
    "otel_service_name",
    "otel_traces_exporter",
    "otel_traces_sampler",
    "otel_traces_sampler_arg",
    "queue_limit",
    "queue_timeout",
    "redis_url",
    "retries",
    "retry_wait",
    "tls_cert",
    "tls_client_ca",
    "tls_client_cert_optional",
    "tls_client_keys",
    "tls_key",
    "trace_upstream",
    "unauthenticated_connections",
    "units",
    "workers",
    "write_timeout",
];

/// The configuration of a running gateway. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    config: ArcSwap<Serve>,
    /// The parts of the gateway that take over a change.
    parts: Mutex<Vec<Part>>,
    status: Arc<ReloadStatus>,
}

/// Takes over a change.
type Part = Box<dyn Fn(&Serve) + Send>;

/// How often the configuration was read again.
#[derive(Debug, Default)]
pub struct ReloadStatus {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last_success_at: AtomicU64,
    /// Whether the last configuration was not valid.
    is_broken: AtomicBool,
}

impl Live {
    /// A configuration that may change.
    pub fn new(config: Serve) -> Self {
        Self(Arc::new(Shared {
            config: ArcSwap::from_pointee(config),
            parts: Mutex::default(),
            status: Arc::default(),
        }))
    }

    /// The options as they are now.
    pub fn get(&self) -> Arc<Serve> {
        self.0.config.load_full()
    }

    /// Calls `part` with each later configuration.
    pub fn on_change(&self, part: impl Fn(&Serve) + Send + 'static) {
        self.parts().push(Box::new(part));
    }

    /// Replaces the options. `config` is valid. When this returns, all parts have taken them over.
    pub fn set(&self, config: Serve) {
        let parts = self.parts();
        let config = Arc::new(config);
        self.0.config.store(Arc::clone(&config));
        for part in parts.iter() {
            part(&config);
        }
    }

    /// How often the configuration was read again.
    pub fn status(&self) -> &Arc<ReloadStatus> {
        &self.0.status
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Part>> {
        // The list is complete after every statement.
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Serve> for Live {
    /// A configuration that never changes.
    fn from(config: &Serve) -> Self {
        Self::new(config.clone())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("status", &self.0.status)
            .finish_non_exhaustive()
    }
}

impl ReloadStatus {
    /// Counts a configuration that was taken over.
    pub fn record_success(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs());
        self.last_success_at.store(seconds, Ordering::Relaxed);
        self.is_broken.store(false, Ordering::Relaxed);
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a configuration that was not valid.
    pub fn record_failure(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last configuration that was read is in use.
    pub fn is_ok(&self) -> bool {
        !self.is_broken.load(Ordering::Relaxed)
    }

    /// How many configurations were taken over.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// How many were not valid.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// When the last one was taken over, in seconds since 1970. `None` if there was none.
    pub fn last_success_at(&self) -> Option<u64> {
        Some(self.last_success_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}
