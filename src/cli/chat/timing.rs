//! What an answer took, as one line for people.

use std::time::{Duration, Instant};

use crate::proto::v1::{CallReport, Usage};

/// Waits shorter than this are not worth a word.
const WAIT_SHOWN_MS: i64 = 100;

/// The times and numbers of an answer.
#[derive(Debug)]
pub(super) struct Timing {
    started: Instant,
    first: Option<Duration>,
    /// The pieces of text, which are about as many as tokens.
    pieces: u32,
    usage: Option<Usage>,
    report: Option<CallReport>,
}

impl Timing {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            first: None,
            pieces: 0,
            usage: None,
            report: None,
        }
    }

    /// A piece of the answer has come.
    pub(super) fn piece(&mut self) {
        self.first.get_or_insert(self.started.elapsed());
        self.pieces += 1;
    }

    pub(super) fn note(&mut self, usage: Option<Usage>, report: Option<CallReport>) {
        self.usage = usage.or(self.usage.take());
        self.report = report.or(self.report.take());
    }

    /// The line, such as `42 tokens · 61.3 tokens/s · first token 0.31 s · 1.02 s · 1 unit`.
    pub(super) fn line(&self) -> String {
        self.line_at(self.started.elapsed())
    }

    fn line_at(&self, total: Duration) -> String {
        let mut parts = Vec::new();
        let tokens = self
            .usage
            .as_ref()
            .and_then(|usage| usage.completion_tokens);
        let count = tokens.and_then(|tokens| u32::try_from(tokens).ok());
        let about = if count.is_some() { "" } else { "about " };
        let count = count.unwrap_or(self.pieces);
        parts.push(format!("{about}{count} {}", plural("token", count)));
        if let Some(first) = self.first {
            let streaming = total.saturating_sub(first).as_secs_f64();
            // The first token begins this time, and is not made in it.
            let rate = f64::from(count.saturating_sub(1)) / streaming;
            if rate.is_finite() && rate > 0.0 {
                parts.push(format!("{rate:.1} tokens/s"));
            }
            parts.push(format!("first token {:.2} s", first.as_secs_f64()));
        }
        parts.push(format!("{:.2} s", total.as_secs_f64()));
        if let Some(report) = &self.report {
            let units = u32::try_from(report.units).unwrap_or_default();
            parts.push(format!("{units} {}", plural("unit", units)));
            if report.waited_ms >= WAIT_SHOWN_MS {
                #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
                let waited = report.waited_ms as f64 / 1000.0;
                parts.push(format!("waited {waited:.1} s for units"));
            }
            if !report.tried.is_empty() {
                parts.push(format!("answered by {}", report.model));
            }
        }
        parts.join(" · ")
    }
}

fn plural(word: &str, count: u32) -> String {
    format!("{word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::TriedModel;

    #[test]
    fn the_line_tells_the_rate_and_the_time_to_the_first_token() {
        let mut timing = Timing::start();
        assert_eq!(timing.line_at(Duration::ZERO), "about 0 tokens · 0.00 s");
        timing.first = Some(Duration::from_millis(500));
        let usage = Usage {
            completion_tokens: Some(21),
            ..Usage::default()
        };
        let report = CallReport {
            units: 1,
            waited_ms: 300,
            model: "b/c".to_owned(),
            tried: vec![TriedModel::default()],
            ..CallReport::default()
        };
        timing.note(Some(usage), None);
        timing.note(None, Some(report));
        assert_eq!(
            timing.line_at(Duration::from_millis(2500)),
            "21 tokens · 10.0 tokens/s · first token 0.50 s · 2.50 s · 1 unit · waited 0.3 s for \
             units · answered by b/c"
        );
    }
}
