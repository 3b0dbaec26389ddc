//! Traces: the spans of calls, for a collector of OpenTelemetry.
//!
//! A call that is recorded notes what happens to it as plain data ([`CallTrace`]). At its end the
//! spans are made of that and of the call's one [`Observation`](super::Observation), which also
//! makes the log line and the metrics. A call that is not recorded notes nothing.
//!
//! In reading order:
//!
//! - `context`: `traceparent` and `tracestate`. `sampler`: which calls are recorded.
//! - `tracer`: begins the trace of a call. `call_trace`: what the trace gets to know.
//! - `spans`: the spans of a call that has ended. `otlp`: their messages.
//! - `queue`, `exporter`: the spans that wait, and the task that sends them in batches.
//! - `collector`: the clients of a collector.

use super::traces::{collector::Collector, exporter::Exporter, queue::Queue};

mod call_trace;
mod collector;
mod context;
mod exporter;
mod otlp;
mod queue;
mod sampler;
mod spans;
mod tracer;

pub use call_trace::{CallTrace, TraceEvent};
pub use collector::{CollectorSettings, Protocol};
pub use context::ContextHeaders;
pub use exporter::Batches;
pub use sampler::Sampler;
pub use tracer::{Names, Tracer};

/// How traces are made and sent.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Which calls are recorded.
    pub sampler: Sampler,
    /// Whether the upstream gets the context of the trace.
    pub passes_on: bool,
    /// The attributes of this process: names and values.
    pub resource: Vec<(String, String)>,
    /// Where spans are sent.
    pub collector: CollectorSettings,
    /// How they are sent.
    pub batches: Batches,
}

/// The traces of a server.
#[derive(Debug)]
pub struct Traces {
    tracer: Tracer,
    exporter: Exporter,
}

impl Traces {
    /// Starts to send spans, within a runtime.
    ///
    /// # Errors
    /// The certificates of the machine cannot be read.
    pub fn start(
        settings: TraceSettings,
        names: Names,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let TraceSettings {
            sampler,
            passes_on,
            resource,
            collector,
            batches,
        } = settings;
        let collector = Collector::new(collector)?;
        let (queue, spans, lost) = Queue::new(batches.queue_max);
        Ok(Self {
            tracer: Tracer::new(sampler, passes_on, names, queue),
            exporter: Exporter::start(collector, resource, batches, spans, lost),
        })
    }

    /// Begins the traces of calls.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Sends the spans that wait, for a few seconds at most.
    pub async fn end(self) {
        self.exporter.end().await;
    }
}
