//! The options for traces: the standard variables of OpenTelemetry. No library reads them itself.

use std::time::Duration;

use clap::Args;
use http::{HeaderMap, Uri};
use secrecy::{ExposeSecret, SecretString};

use super::{heading, values::switch};
use crate::{
    build_info,
    telemetry::traces::{Batches, CollectorSettings, Protocol, Sampler, TraceSettings},
};

#[cfg(test)]
mod tests;
mod values;

pub use values::{Given, SamplerName, TracesExporter};

use values::{
    attributes, endpoint, exporter, headers_of, or_unset, protocol, sampler, secret_headers, share,
    spans, time,
};

/// The path of spans below the base of a collector that is called over HTTP.
const HTTP_PATH: &str = "/v1/traces";

/// The options for traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::TRACES)]
pub struct Tracing {
    /// The collector to which traces are sent by OTLP. Over HTTP, /v1/traces is added. Unset: no
    /// traces
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = or_unset(endpoint)
    )]
    pub otlp_endpoint: Option<Given<Uri>>,

    /// The same for traces only. Over HTTP, it is the whole URL
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        value_name = "URL",
        value_parser = or_unset(endpoint)
    )]
    pub otlp_traces_endpoint: Option<Given<Uri>>,

    /// The protocol of the collector: http/protobuf or grpc
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        value_name = "PROTOCOL",
        default_value = "http/protobuf",
        value_parser = or_unset(protocol)
    )]
    pub otlp_protocol: Given<Protocol>,

    /// The same for traces only
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        value_name = "PROTOCOL",
        value_parser = or_unset(protocol)
    )]
    pub otlp_traces_protocol: Option<Given<Protocol>>,

    /// Headers (over gRPC: metadata) for the collector: NAME=VALUE, separated by commas. Prefer the
    /// variable: flags are visible in process lists
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "HEADERS",
        hide_env_values = true,
        value_parser = secret_headers
    )]
    pub otlp_headers: Option<SecretString>,

    /// The same for traces only
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        value_name = "HEADERS",
        hide_env_values = true,
        value_parser = secret_headers
    )]
    pub otlp_traces_headers: Option<SecretString>,

    /// Longest wait for the collector's answer. A number without a unit is in milliseconds
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = or_unset(time)
    )]
    pub otlp_timeout: Given<Duration>,

    /// The same for traces only
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        value_name = "TIME",
        value_parser = or_unset(time)
    )]
    pub otlp_traces_timeout: Option<Given<Duration>>,

    /// otlp sends traces to a collector on this machine if no other one is set; none sends none
    #[arg(
        long,
        env = "OTEL_TRACES_EXPORTER",
        value_name = "NAME",
        value_parser = or_unset(exporter)
    )]
    pub traces_exporter: Option<Given<TracesExporter>>,

    /// Make no traces, whatever else is set
    #[arg(long, env = "OTEL_SDK_DISABLED", value_parser = switch)]
    pub otel_sdk_disabled: bool,

    /// Which calls are recorded: always_on, always_off or traceidratio; with parentbased_ before
    /// it, the decision of a caller who sends `traceparent` comes first
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_always_on",
        value_parser = or_unset(sampler)
    )]
    pub traces_sampler: Given<SamplerName>,

    /// The share of the calls that traceidratio records, from 0 to 1. Unset: 1
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER_ARG",
        value_name = "SHARE",
        value_parser = share
    )]
    pub traces_sampler_arg: Option<f64>,

    /// The name of this service in traces
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME",
        default_value = "featherwire"
    )]
    pub service_name: String,

    /// Attributes of this process in traces: NAME=VALUE, separated by commas
    #[arg(
        long,
        env = "OTEL_RESOURCE_ATTRIBUTES",
        value_name = "ATTRIBUTES",
        value_parser = or_unset(attributes)
    )]
    pub resource_attributes: Option<Given<Vec<(String, String)>>>,

    /// How long the first span of a batch waits for others. A number without a unit is in
    /// milliseconds
    #[arg(
        long,
        env = "OTEL_BSP_SCHEDULE_DELAY",
        value_name = "TIME",
        default_value = "5s",
        value_parser = or_unset(time)
    )]
    pub trace_delay: Given<Duration>,

    /// Largest number of spans that wait for the collector. Beyond it, spans are lost
    #[arg(
        long,
        env = "OTEL_BSP_MAX_QUEUE_SIZE",
        value_name = "N",
        default_value = "2048",
        value_parser = |text: &str| spans(text, 2048)
    )]
    pub trace_queue: usize,

    /// Largest number of spans that are sent together
    #[arg(
        long,
        env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        value_name = "N",
        default_value = "512",
        value_parser = |text: &str| spans(text, 512)
    )]
    pub trace_batch: usize,

    /// Longest time until the collector has taken a batch, with all attempts. A number without a
    /// unit is in milliseconds
    #[arg(
        long,
        env = "OTEL_BSP_EXPORT_TIMEOUT",
        value_name = "TIME",
        default_value = "30s",
        value_parser = or_unset(time)
    )]
    pub trace_export_timeout: Given<Duration>,

    /// Send `traceparent` and `tracestate` to Featherless too. Without traces, this does nothing
    #[arg(long, env = "FEATHERWIRE_TRACE_UPSTREAM", value_parser = switch)]
    pub trace_upstream: bool,
}

impl Tracing {
    /// How traces are made and sent. `None` if there are none.
    ///
    /// # Errors
    /// A sentence that says which options contradict each other.
    pub fn settings(&self) -> Result<Option<TraceSettings>, String> {
        let exporter = self.traces_exporter.as_ref().and_then(Given::get);
        let protocol = first(&self.otlp_traces_protocol, &self.otlp_protocol)
            .unwrap_or(Protocol::HttpProtobuf);
        let of_traces = self.otlp_traces_endpoint.as_ref().and_then(Given::get);
        let of_all = self.otlp_endpoint.as_ref().and_then(Given::get);
        let is_off = match exporter {
            Some(TracesExporter::None) => true,
            Some(TracesExporter::Otlp) => false,
            None => of_traces.is_none() && of_all.is_none(),
        };
        if is_off || self.otel_sdk_disabled {
            return Ok(None);
        }
        if self.trace_batch > self.trace_queue {
            return Err(format!(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE (--trace-batch) is {}, and OTEL_BSP_MAX_QUEUE_SIZE \
                 (--trace-queue) only {}: make the first one smaller",
                self.trace_batch, self.trace_queue
            ));
        }
        let endpoint = match (of_traces, protocol) {
            (Some(endpoint), _) => endpoint,
            (None, Protocol::Grpc) => {
                of_all.unwrap_or_else(|| Uri::from_static("http://localhost:4317"))
            }
            (None, Protocol::HttpProtobuf) => {
                let base = of_all.unwrap_or_else(|| Uri::from_static("http://localhost:4318"));
                below(&base).ok_or("OTEL_EXPORTER_OTLP_ENDPOINT (--otlp-endpoint) is no URL")?
            }
        };
        let headers = self.otlp_traces_headers.as_ref();
        let headers = headers.or(self.otlp_headers.as_ref());
        let headers =
            headers.map_or_else(|| Ok(HeaderMap::new()), |it| headers_of(it.expose_secret()));
        let sampler = self.traces_sampler.get().unwrap_or(SamplerName {
            follows_caller: true,
            share: Some(true),
        });
        Ok(Some(TraceSettings {
            sampler: Sampler {
                follows_caller: sampler.follows_caller,
                share: match sampler.share {
                    Some(true) => 1.0,
                    Some(false) => 0.0,
                    None => self.traces_sampler_arg.unwrap_or(1.0),
                },
            },
            passes_on: self.trace_upstream,
            resource: self.resource(),
            collector: CollectorSettings {
                protocol,
                endpoint,
                headers: headers?,
                timeout: first(&self.otlp_traces_timeout, &self.otlp_timeout)
                    .unwrap_or(Duration::from_secs(10)),
            },
            batches: Batches {
                queue_max: self.trace_queue,
                batch_max: self.trace_batch,
                delay: self.trace_delay.get().unwrap_or(Duration::from_secs(5)),
                timeout: self
                    .trace_export_timeout
                    .get()
                    .unwrap_or(Duration::from_secs(30)),
            },
        }))
    }

    /// The attributes of this process. Those that are set replace the others.
    fn resource(&self) -> Vec<(String, String)> {
        let given = self.resource_attributes.as_ref().and_then(Given::get);
        let given = given.unwrap_or_default();
        let has = |name: &str| given.iter().any(|(known, _)| known == name);
        let mut resource = Vec::new();
        // `OTEL_SERVICE_NAME` comes before the attribute, and its default after it.
        let is_default = self.service_name.is_empty() || self.service_name == "featherwire";
        if !(is_default && has("service.name")) {
            let name = match self.service_name.as_str() {
                "" => "featherwire",
                name => name,
            };
            resource.push(("service.name".to_owned(), name.to_owned()));
        }
        for (name, value) in [
            ("service.version", build_info::VERSION),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.name", "featherwire"),
            ("telemetry.sdk.version", build_info::VERSION),
        ] {
            if !has(name) {
                resource.push((name.to_owned(), value.to_owned()));
            }
        }
        let is_named = |name: &str| resource.iter().any(|(known, _)| known == name);
        let others: Vec<_> = given
            .into_iter()
            .filter(|(name, _)| !is_named(name))
            .collect();
        resource.extend(others);
        resource
    }
}

/// The value for traces, or else the one for all signals.
fn first<T: Clone>(of_traces: &Option<Given<T>>, of_all: &Given<T>) -> Option<T> {
    let of_traces = of_traces.as_ref().and_then(Given::get);
    of_traces.or_else(|| of_all.get())
}

/// The URL of spans below a base URL.
fn below(base: &Uri) -> Option<Uri> {
    let path = base.path().trim_end_matches('/');
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{HTTP_PATH}").parse().ok()?);
    Uri::from_parts(parts).ok()
}
