//! The metrics that are made of the series of calls. Several are views of the same numbers.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use super::{
    Samples,
    histogram::{self, Counts, Histogram, Scale},
    labels::{Key, NONE, OTHER},
    series::Series,
    table::{self, Metric},
};
use crate::telemetry::finished::End;

/// The values of labels, in the order of the metric's table.
type Values = Vec<String>;

/// The metrics that several series have together.
#[derive(Default)]
pub(super) struct Views {
    numbers: BTreeMap<(&'static str, Values), (&'static Metric, u64)>,
    counts: BTreeMap<(&'static str, Values), (&'static Metric, Counts)>,
}

impl Views {
    pub(super) fn add_series(&mut self, key: &Key, series: &Series) {
        let (rpc, model, asked) = (key.rpc, &*key.model, &*key.asked);
        let calls = {
            let mut counts = Counts::new(&histogram::DURATION);
            counts.add(&series.duration);
            counts.count()
        };
        let labels = [key.door, rpc, model, key.end.name(), key.code];
        self.add_number(table::CALLS, &labels, calls);
        let labels = [key.door, rpc, model, key.end.name()];
        let duration = (&histogram::DURATION, &series.duration);
        self.add_counts(table::CALL_DURATION, &labels, duration);
        if model == NONE {
            return;
        }
        let first_token = (&histogram::FIRST_TOKEN, &series.first_token);
        let output_token = (&histogram::OUTPUT_TOKEN, &series.output_token);
        self.add_counts(table::FIRST_TOKEN, &[rpc, model], first_token);
        self.add_counts(table::OUTPUT_TOKEN, &[rpc, model], output_token);
        let wait = (&histogram::WAIT, &series.wait);
        self.add_counts(table::WAIT_FOR_UNITS, &[rpc, model], wait);
        for (kind, number) in series.tokens.by_kind() {
            self.add_number(table::TOKENS, &[model, kind], number);
        }
        for (metric, number) in [
            (table::RETRIES, &series.retries),
            (table::FALLBACKS, &series.fallbacks),
            (table::UPSTREAM_REFUSALS, &series.refusals),
        ] {
            self.add_number(metric, &[model], number.load(Ordering::Relaxed));
        }
        // In milliseconds here; `move_to` makes seconds of them.
        let unit_ms = series.unit_ms.load(Ordering::Relaxed);
        self.add_number(table::UNIT_SECONDS, &[model], unit_ms);
        let operation = operation_of(rpc);
        let answered = if key.has_answer { model } else { "" };
        let names = [operation, "featherless", asked, answered];
        let error = match (key.end, key.code) {
            (End::Finished, _) => "",
            (End::Cancelled, "") => "cancelled",
            (_, "") => OTHER,
            (_, code) => code,
        };
        let [a, b, c, d] = names;
        let with_error = [a, b, c, d, error];
        let upstream = (&histogram::DURATION, &series.upstream_duration);
        self.add_counts(table::GEN_AI_DURATION, &with_error, upstream);
        self.add_counts(table::GEN_AI_SERVER_DURATION, &with_error, duration);
        let upstream = (&histogram::FIRST_TOKEN, &series.upstream_first_token);
        self.add_counts(table::GEN_AI_FIRST_CHUNK, &names, upstream);
        self.add_counts(table::GEN_AI_SERVER_FIRST_TOKEN, &names, first_token);
        self.add_counts(table::GEN_AI_SERVER_OUTPUT_TOKEN, &names, output_token);
        for (kind, tokens) in [
            ("input", &series.prompt_tokens),
            ("output", &series.completion_tokens),
        ] {
            let tokens = (&histogram::TOKENS, tokens);
            self.add_counts(table::GEN_AI_TOKENS, &[a, b, c, d, kind], tokens);
        }
    }

    fn add_number(&mut self, metric: &'static Metric, labels: &[&str], number: u64) {
        let key = (metric.name, owned(labels));
        self.numbers.entry(key).or_insert((metric, 0)).1 += number;
    }

    fn add_counts(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        (scale, histogram): (&'static Scale, &Histogram),
    ) {
        let key = (metric.name, owned(labels));
        let entry = self.counts.entry(key);
        let (_, counts) = entry.or_insert_with(|| (metric, Counts::new(scale)));
        counts.add(histogram);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub(super) fn move_to(self, samples: &mut Samples) {
        for ((_, labels), (metric, number)) in self.numbers {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            let number = match metric.name == table::UNIT_SECONDS.name {
                true => number as f64 / 1e3,
                false => number as f64,
            };
            samples.add(metric, &labels, number);
        }
        for ((_, labels), (metric, counts)) in self.counts {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            samples.add_counts(metric, &labels, counts);
        }
    }
}

/// The `gen_ai.operation.name` of a method.
pub(in crate::telemetry) fn operation_of(rpc: &str) -> &'static str {
    match rpc {
        "CreateCompletion" | "StreamCompletion" => "text_completion",
        "CreateEmbedding" => "embeddings",
        _ => "chat",
    }
}

fn owned(labels: &[&str]) -> Values {
    labels.iter().map(|label| (*label).to_owned()).collect()
}
