//! Every metric: its name, type, labels and meaning. The names are a contract: dashboards and alerts
//! use them. docs/metrics.md prints this table, and a test compares the two.
//!
//! The names `gen_ai_*` are those of OpenTelemetry's conventions for generative AI, in the form that
//! Prometheus gives them.

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows, until the process ends. Its name ends with `_total`.
    Counter,
    /// The value of now.
    Gauge,
    /// How many values are at most as large as each of some bounds, with their sum and number.
    Histogram,
}

/// The label that samples of a gateway with one account do not have.
pub(super) const ACCOUNT_LABEL: &str = "account";

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// The name, as queries write it.
    pub name: &'static str,
    /// The type.
    pub r#type: Type,
    /// The names of the labels, in order.
    pub labels: &'static [&'static str],
    /// What it tells, as part of a sentence.
    pub help: &'static str,
}

impl Metric {
    /// The name without the unit and without `_total`, and the unit.
    pub(super) fn parts(&self) -> (&'static str, Option<&'static str>) {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes"]
            .into_iter()
            .find_map(|unit| {
                let base = name.strip_suffix(unit)?.strip_suffix('_')?;
                Some((base, Some(unit)))
            })
            .unwrap_or((name, None))
    }
}

/// Declares the metrics, and the list of all.
macro_rules! metrics {
    ($($const:ident = $type:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub const $const: &Metric = &Metric {
                name: $name,
                r#type: Type::$type,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// All metrics, in the order in which they are answered.
        pub const ALL: &[&Metric] = &[$($const),*];
    };
}

metrics! {
    CALLS = Counter "featherwire_calls_total" ["door", "rpc", "model", "end", "code"]
        "Calls that have ended";
    FAILED_CALLS = Counter "featherwire_failed_calls_total" ["code"]
        "Calls that have failed. Every code of the gateway is there from the start, with 0";
    CALL_DURATION = Histogram "featherwire_call_duration_seconds" ["door", "rpc", "model", "end"]
        "Time from the arrival of a call to its end";
    FIRST_TOKEN = Histogram "featherwire_time_to_first_token_seconds" ["rpc", "model"]
        "Time from the arrival of a streamed call to the first part of its answer";
    OUTPUT_TOKEN = Histogram "featherwire_time_per_output_token_seconds" ["rpc", "model"]
        "Time for each token after the first, of streamed answers that finished";
    WAIT_FOR_UNITS = Histogram "featherwire_wait_for_units_seconds" ["rpc", "model"]
        "Time for which a call waited for units";
    TOKENS = Counter "featherwire_tokens_total" ["model", "kind"]
        "Tokens of calls. Reasoning tokens are also completion tokens, cached ones also prompt tokens";
    UNIT_SECONDS = Counter "featherwire_unit_seconds_total" ["model"]
        "Concurrency units, multiplied by the time for which calls held them";
    RETRIES = Counter "featherwire_retries_total" ["model"]
        "Requests that were sent upstream again";
    FALLBACKS = Counter "featherwire_fallbacks_total" ["model"]
        "Models that failed and were replaced by a fallback, by the model that answered";
    UPSTREAM_REFUSALS = Counter "featherwire_upstream_refusals_total" ["model"]
        "Requests that upstream refused for want of units. The calls waited and went on";
    KEY_CALLS = Counter "featherwire_key_calls_total" ["key", "end"]
        "Calls of each key that have ended. Only with --metrics-key-label";
    KEY_TOKENS = Counter "featherwire_key_tokens_total" ["key", "kind"]
        "Tokens of each key. Only with --metrics-key-label";
    REQUEST_BYTES = Histogram "featherwire_request_bytes" ["door"]
        "Sizes of the requests for models";
    UNITS_CAPACITY = Gauge "featherwire_units_capacity" ["account"]
        "Concurrency units of the plan. Absent if there is no limit";
    UNITS_IN_USE = Gauge "featherwire_units_in_use" ["account"]
        "Units that calls hold; in a cluster, those of all gateways, told by their leader";
    UNITS_EXTERNAL = Gauge "featherwire_units_external" ["account"]
        "Units that other programs of the account hold";
    UNITS_COOLING_DOWN = Gauge "featherwire_units_cooling_down" ["account"]
        "Units of cancelled requests that upstream may still count";
    RUNNING = Gauge "featherwire_running_requests" ["account"]
        "Requests that hold units";
    QUEUED = Gauge "featherwire_queue_requests" ["class", "account"]
        "Requests that wait for units";
    QUEUE_OLDEST = Gauge "featherwire_queue_oldest_wait_seconds" ["account"]
        "Time for which the oldest of them has waited";
    CLUSTER_ROLE = Gauge "featherwire_cluster_role" ["role", "account"]
        "1 for what the gateway does in its cluster: leading, following, or alone without Redis";
    CLUSTER_MEMBERS = Gauge "featherwire_cluster_members" ["account"]
        "Gateways of the cluster, this one too";
    CIRCUITS = Gauge "featherwire_circuits" ["state", "account"]
        "Models that have failed recently, by the state of their circuit";
    ACCOUNT_UNIT_REFUSALS = Counter "featherwire_account_unit_refusals_total" ["account"]
        "Requests of this gateway that upstream refused for want of units of the account";
    ACCOUNT_REFUSED = Gauge "featherwire_account_refused" ["account"]
        "1 if upstream refuses the account (its key or its plan), so that it is not asked for a while, 0 if not. Absent with one account";
    CATALOGUE_AGE = Gauge "featherwire_catalogue_age_seconds" []
        "Age of the list of models. Absent before it is loaded";
    CATALOGUE_MODELS = Gauge "featherwire_catalogue_models" []
        "Models in that list";
    CONNECTIONS_TOTAL = Counter "featherwire_accepted_connections_total" ["listener"]
        "Connections that were accepted";
    CONNECTIONS = Gauge "featherwire_connections" ["listener"]
        "Open connections of callers";
    CALLS_ACTIVE = Gauge "featherwire_active_calls" []
        "Calls that have begun and not ended. Watches are calls too";
    STREAMS = Gauge "featherwire_streams" []
        "Streamed answers that have begun and not ended";
    INFLIGHT_BYTES = Gauge "featherwire_inflight_request_bytes" []
        "Bytes of the requests in memory";
    LEDGER_QUEUE = Gauge "featherwire_ledger_queue_records" []
        "Records of calls that wait for the database";
    LEDGER_SPILL = Gauge "featherwire_ledger_spill_bytes" []
        "Bytes of the records in files, while the database is away";
    LEDGER_LOST = Counter "featherwire_ledger_lost_records_total" []
        "Records of calls that were lost";
    DATABASE_UP = Gauge "featherwire_database_up" []
        "1 if the database answers and has taken what was last written, 0 if not";
    CERTIFICATE_EXPIRY = Gauge "featherwire_certificate_expiry_timestamp_seconds" ["listener"]
        "When the certificate in use expires, in seconds since 1970. Absent without TLS";
    CERTIFICATE_FAILURES = Counter "featherwire_certificate_reload_failures_total" ["listener"]
        "New certificates or keys that were not usable, so that the old ones stay in use";
    CERTIFICATE_OK = Gauge "featherwire_certificate_reload_ok" ["listener"]
        "1 if the content of the files of the certificate and its key is in use, 0 if it is not usable";
    HANDSHAKE_FAILURES = Counter "featherwire_tls_handshake_failures_total" ["listener", "reason"]
        "TLS handshakes that have failed. Absent without TLS";
    CONFIG_OK = Gauge "featherwire_config_reload_ok" []
        "1, or 0 if the configuration of the last SIGHUP was not valid";
    CONFIG_RELOADS = Counter "featherwire_config_reloads_total" ["result"]
        "Times that the configuration was read again, on SIGHUP";
    CONFIG_RELOADED = Gauge "featherwire_config_last_reload_timestamp_seconds" []
        "When the configuration was last read again, in seconds since 1970. Absent until then";
    LOG_LOST = Counter "featherwire_log_lines_lost_total" []
        "Lines of the log that standard error did not take";
    SPANS_LOST = Counter "featherwire_trace_spans_lost_total" []
        "Spans that the collector did not take";
    READY = Gauge "featherwire_ready" []
        "1 if /readyz says that calls are served, 0 if not";
    BUILD = Gauge "featherwire_build_info" ["version", "revision"]
        "Always 1. The labels tell which program runs";
    GEN_AI_DURATION = Histogram "gen_ai_client_operation_duration_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model", "error_type"]
        "Duration of calls that were sent upstream, without their wait for units";
    GEN_AI_FIRST_CHUNK = Histogram "gen_ai_client_operation_time_to_first_chunk_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model"]
        "Time to the first chunk of streamed answers, without the wait for units";
    GEN_AI_TOKENS = Histogram "gen_ai_client_token_usage"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model", "gen_ai_token_type"]
        "Tokens of each operation";
    GEN_AI_SERVER_DURATION = Histogram "gen_ai_server_request_duration_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model", "error_type"]
        "Duration of calls that were sent upstream or waited for units, as callers see it";
    GEN_AI_SERVER_FIRST_TOKEN = Histogram "gen_ai_server_time_to_first_token_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model"]
        "Time to the first token of streamed answers, as callers see it";
    GEN_AI_SERVER_OUTPUT_TOKEN = Histogram "gen_ai_server_time_per_output_token_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
         "gen_ai_response_model"]
        "Time for each token after the first";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "Processor time of the process";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" []
        "Memory of the process";
    PROCESS_FDS = Gauge "process_open_fds" []
        "Open file descriptors";
    PROCESS_FDS_MAX = Gauge "process_max_fds" []
        "Largest number of open file descriptors";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs};

    use super::*;

    /// The rows of docs/metrics.md.
    fn documented() -> Vec<(String, String, String)> {
        let text = fs::read_to_string("docs/metrics.md").unwrap();
        text.lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
                let [name, r#type, labels, help] = cells[..] else {
                    panic!("{line}");
                };
                let name = format!("{} {type}", name.trim_matches('`'));
                (name, labels.replace('`', ""), help.to_owned())
            })
            .collect()
    }

    #[test]
    fn the_documentation_has_this_table() {
        let row = |metric: &&Metric| {
            let r#type = format!("{:?}", metric.r#type).to_lowercase();
            let name = format!("{} {type}", metric.name);
            (name, metric.labels.join(", "), metric.help.to_owned())
        };
        let expected: Vec<_> = ALL.iter().map(row).collect();
        let table = |rows: &[(String, String, String)]| {
            let line = |(name, labels, help): &(String, String, String)| {
                let (name, r#type) = name.split_once(' ').unwrap();
                let labels = match labels.as_str() {
                    "" => String::new(),
                    labels => format!("`{}`", labels.replace(", ", "`, `")),
                };
                format!("| `{name}` | {type} | {labels} | {help} |\n")
            };
            rows.iter().map(line).collect::<String>()
        };
        assert_eq!(table(&documented()), table(&expected));
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        // In OpenMetrics a counter has its name without `_total`.
        let family = |metric: &&Metric| metric.name.trim_end_matches("_total");
        let families: HashSet<_> = ALL.iter().map(family).collect();
        assert_eq!(families.len(), ALL.len());
        for metric in ALL {
            let is_counter = metric.name.ends_with("_total");
            assert_eq!(
                is_counter,
                metric.r#type == Type::Counter,
                "{}",
                metric.name
            );
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let labels = metric.labels.iter().copied();
            assert!(
                labels
                    .chain([metric.name])
                    .all(|name| name.chars().all(is_name))
            );
        }
    }
}
