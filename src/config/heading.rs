//! The groups of options in `--help`.

pub const LISTENING: &str = "Listening";
pub const CALLERS: &str = "Keys and callers";
pub const TLS: &str = "TLS";
pub const DATABASE: &str = "Database";
pub const CLUSTER: &str = "Several gateways";
pub const MODELS: &str = "Models and fail-over";
pub const UNITS: &str = "Units and queue";
pub const UPSTREAM: &str = "Upstream";
pub const TIMEOUTS: &str = "Time-outs";
pub const EMULATOR: &str = "Emulator";
pub const GATEWAY: &str = "Gateway";
pub const LOGGING: &str = "Logging";
pub const TRACES: &str = "Traces";
pub const CONFIGURATION: &str = "Configuration";
