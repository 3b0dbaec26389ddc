//! The values of all metrics at one moment, and their text.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    histogram::Counts,
    table::{self, Metric, Type},
};

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl TextFormat {
    /// The form that a caller asks for with its header `accept`.
    pub fn of_accept(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The values of the labels of a sample, with their names.
type Labels = Vec<(&'static str, String)>;

/// The values of metrics at one moment.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Vec<(Labels, Value)>>);

#[derive(Clone, Debug)]
enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram(Counts),
}

impl Samples {
    /// Adds the value of a counter or of a gauge, for these values of its labels.
    pub fn add(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let value = match metric.r#type {
            Type::Counter => Value::Counter(value),
            Type::Gauge | Type::Histogram => Value::Gauge(value),
        };
        self.push(metric, labels, value);
    }

    /// Adds the value of a counter or of a gauge without labels, if it is known.
    pub fn add_known(&mut self, metric: &'static Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.add(metric, &[], value);
        }
    }

    /// Adds a histogram for these values of its labels, unless it has counted nothing.
    pub(super) fn add_counts(&mut self, metric: &'static Metric, labels: &[&str], counts: Counts) {
        if counts.count() > 0 {
            self.push(metric, labels, Value::Histogram(counts));
        }
    }

    fn push(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let values = labels.iter().map(|label| (*label).to_owned());
        let labels = metric.labels.iter().copied().zip(values);
        // A gateway with one account has no name for it.
        let labels = labels
            .filter(|(name, value)| *name != table::ACCOUNT_LABEL || !value.is_empty())
            .collect();
        self.0.entry(metric.name).or_default().push((labels, value));
    }

    /// The text of all metrics.
    ///
    /// # Errors
    /// None: a string takes every text.
    pub fn encode(self, format: TextFormat) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match format {
            TextFormat::Prometheus => prometheus_text::encode(&mut text, &registry)?,
            TextFormat::OpenMetrics => text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in table::ALL {
            let Some(samples) = self.0.get(metric.name) else {
                continue;
            };
            let (name, unit) = metric.parts();
            let unit = unit.map(|unit| match unit {
                "bytes" => Unit::Bytes,
                _ => Unit::Seconds,
            });
            let r#type = match metric.r#type {
                Type::Counter => MetricType::Counter,
                Type::Gauge => MetricType::Gauge,
                Type::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, metric.help, unit.as_ref(), r#type)?;
            for (labels, value) in samples {
                let mut sample = family.encode_family(labels)?;
                match value {
                    Value::Counter(value) => {
                        sample.encode_counter::<NoLabelSet, f64, f64>(value, None)?;
                    }
                    Value::Gauge(value) => sample.encode_gauge(value)?,
                    Value::Histogram(counts) => {
                        let (sum, count) = (counts.sum(), counts.count());
                        let buckets = counts.buckets();
                        sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
