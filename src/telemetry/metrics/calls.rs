//! What is counted of calls. Each call is counted once, at its end.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use hashbrown::{Equivalent, HashMap, hash_map::EntryRef};

use super::{
    Samples,
    histogram::{self, Counts, Histogram, Scale},
    table::{self, Metric},
};
use crate::telemetry::finished::{End, FinishedCall, ModelEnd, TokenCounts};

/// The largest number of combinations of labels. Beyond it, calls are counted for the model
/// [`OTHER`]. The memory of the metrics stays below 20 MB.
const SERIES_MAX: usize = 4096;

/// The largest number of keys with counters of their own. Calls of others count for [`OTHER`].
const KEYS_MAX: usize = 1000;

/// The label for what has no label of its own: a model that is not in the catalogue, a code that is
/// not the gateway's.
const OTHER: &str = "other";

/// The label for what a call does not have.
const NONE: &str = "none";

/// What is counted of calls. Cheap to clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub struct CallMetrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    series: RwLock<HashMap<Key, Series>>,
    /// `None` if no key is a label.
    keys: Option<RwLock<HashMap<Arc<str>, Arc<KeySeries>>>>,
    request_bytes: RequestBytes,
    streams: AtomicI64,
}

/// The labels of a series. The texts without an owner come from closed lists.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    door: &'static str,
    rpc: &'static str,
    /// The model that was asked for, and the one that answered.
    asked: Arc<str>,
    model: Arc<str>,
    end: End,
    code: &'static str,
}

/// The same with borrowed texts.
#[derive(Clone, Copy, Hash)]
struct KeyRef<'a> {
    door: &'static str,
    rpc: &'static str,
    asked: &'a str,
    model: &'a str,
    end: End,
    code: &'static str,
}

impl<'a> KeyRef<'a> {
    fn of(call: &'a FinishedCall<'_>) -> Self {
        let label = |name: fn(&ModelEnd) -> &Arc<str>| match call.model.map(name) {
            None => NONE,
            Some(model) if model.is_empty() => OTHER,
            Some(model) => model,
        };
        let code = match call.error.map(|error| &error.code) {
            None => "",
            Some(Cow::Borrowed(code)) => *code,
            Some(Cow::Owned(_)) => OTHER,
        };
        Self {
            door: call.door,
            rpc: call.rpc.unwrap_or(NONE),
            asked: label(|model| &model.asked),
            model: label(|model| &model.model),
            end: call.end,
            code,
        }
    }
}

impl From<&KeyRef<'_>> for Key {
    fn from(key: &KeyRef<'_>) -> Self {
        Self {
            door: key.door,
            rpc: key.rpc,
            asked: key.asked.into(),
            model: key.model.into(),
            end: key.end,
            code: key.code,
        }
    }
}

impl Key {
    fn borrowed(&self) -> KeyRef<'_> {
        KeyRef {
            door: self.door,
            rpc: self.rpc,
            asked: &self.asked,
            model: &self.model,
            end: self.end,
            code: self.code,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.end == key.end
            && self.door == key.door
            && self.rpc == key.rpc
            && self.code == key.code
            && self.model == &*key.model
            && self.asked == &*key.asked
    }
}

/// What is counted for one combination of labels.
#[derive(Debug)]
struct Series {
    duration: Histogram,
    first_token: Histogram,
    output_token: Histogram,
    wait: Histogram,
    prompt_tokens: Histogram,
    completion_tokens: Histogram,
    tokens: TokenSums,
    unit_ms: AtomicU64,
    retries: AtomicU64,
    fallbacks: AtomicU64,
    refusals: AtomicU64,
}

#[derive(Debug, Default)]
struct TokenSums {
    prompt: AtomicU64,
    completion: AtomicU64,
    reasoning: AtomicU64,
    cached: AtomicU64,
}

#[derive(Debug, Default)]
struct KeySeries {
    ends: [AtomicU64; End::ALL.len()],
    tokens: TokenSums,
}

#[derive(Debug)]
struct RequestBytes([(&'static str, Histogram); 3]);

impl Default for RequestBytes {
    fn default() -> Self {
        let of = |door| (door, Histogram::new(&histogram::BYTES));
        Self(["grpc", "grpc-web", "rest"].map(of))
    }
}

impl CallMetrics {
    /// `has_keys`: whether calls and tokens are also counted for each key.
    pub fn new(has_keys: bool) -> Self {
        Self(Arc::new(Inner {
            keys: has_keys.then(RwLock::default),
            ..Inner::default()
        }))
    }

    /// Counts a streamed answer that begins. [`end_stream`](Self::end_stream) must follow.
    pub fn begin_stream(&self) {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a streamed answer.
    pub fn end_stream(&self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a call that has ended.
    pub(in crate::telemetry) fn record(&self, call: &FinishedCall<'_>) {
        if let Some(bytes) = call.model.and_then(|model| model.request_bytes) {
            let mut doors = self.0.request_bytes.0.iter();
            if let Some((_, histogram)) = doors.find(|(door, _)| *door == call.door) {
                histogram.record(bytes);
            }
        }
        if let Some(keys) = &self.0.keys
            && let Some(key) = call.key
        {
            let key = of_key(keys, key);
            if let Some(end) = key.ends.get(call.end as usize) {
                end.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(model) = call.model {
                key.tokens.add(&model.tokens);
            }
        }
        let key = KeyRef::of(call);
        if let Some(series) = read(&self.0.series).get(&key) {
            return series.record(call);
        }
        let mut all = self
            .0
            .series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let key = match all.len() < SERIES_MAX {
            // Without a model, all labels come from closed lists.
            false if call.model.is_some() => KeyRef {
                asked: OTHER,
                model: OTHER,
                ..key
            },
            _ => key,
        };
        let series = match all.entry_ref(&key) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => entry
                .insert_entry_with_key(Key::from(&key), Series::new())
                .into_mut(),
        };
        series.record(call);
    }

    /// Adds the values of the metrics of calls.
    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub fn collect(&self, samples: &mut Samples) {
        let mut views = Views::default();
        for (key, series) in read(&self.0.series).iter() {
            let calls = {
                let mut counts = Counts::new(&histogram::DURATION);
                counts.add(&series.duration);
                counts.count()
            };
            let labels = [key.door, key.rpc, &*key.model, key.end.name(), key.code];
            views.add_number(table::CALLS, &labels, calls);
            views.add_series(key, series);
        }
        views.move_to(samples);
        for (door, histogram) in &self.0.request_bytes.0 {
            let mut counts = Counts::new(&histogram::BYTES);
            counts.add(histogram);
            samples.add_counts(table::REQUEST_BYTES, &[door], counts);
        }
        let streams = self.0.streams.load(Ordering::Relaxed).max(0);
        samples.add(table::STREAMS, &[], streams as f64);
        for (name, key) in self.0.keys.iter().flat_map(|keys| {
            let keys = read(keys);
            keys.iter()
                .map(|(name, key)| (Arc::clone(name), Arc::clone(key)))
                .collect::<Vec<_>>()
        }) {
            for (end, number) in End::ALL.iter().zip(&key.ends) {
                let number = number.load(Ordering::Relaxed);
                if number > 0 {
                    samples.add(table::KEY_CALLS, &[&name, end.name()], number as f64);
                }
            }
            for (kind, number) in key.tokens.by_kind() {
                samples.add(table::KEY_TOKENS, &[&name, kind], number as f64);
            }
        }
    }
}

impl Series {
    fn new() -> Self {
        Self {
            duration: Histogram::new(&histogram::DURATION),
            first_token: Histogram::new(&histogram::FIRST_TOKEN),
            output_token: Histogram::new(&histogram::OUTPUT_TOKEN),
            wait: Histogram::new(&histogram::WAIT),
            prompt_tokens: Histogram::new(&histogram::TOKENS),
            completion_tokens: Histogram::new(&histogram::TOKENS),
            tokens: TokenSums::default(),
            unit_ms: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    fn record(&self, call: &FinishedCall<'_>) {
        self.duration.record(micros(call.duration));
        let Some(model) = call.model else { return };
        self.wait.record(model.waited_ms);
        if let Some(first_token_ms) = model.first_token_ms {
            let first_token = first_token_ms.saturating_mul(1000);
            self.first_token.record(first_token);
            let rest = model.tokens.completion.saturating_sub(1);
            let time = micros(call.duration).saturating_sub(first_token);
            if let Some(each) = time.checked_div(rest)
                && call.end == End::Finished
            {
                self.output_token.record(each);
            }
        }
        if model.tokens.prompt > 0 || model.tokens.completion > 0 {
            self.prompt_tokens.record(model.tokens.prompt);
            self.completion_tokens.record(model.tokens.completion);
            self.tokens.add(&model.tokens);
        }
        for (sum, value) in [
            (&self.unit_ms, model.unit_ms),
            (&self.retries, u64::from(model.retries)),
            (&self.fallbacks, u64::from(model.fallbacks)),
            (&self.refusals, u64::from(model.refusals)),
        ] {
            if value > 0 {
                sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }
}

impl TokenSums {
    fn add(&self, tokens: &TokenCounts) {
        for (sum, value) in [
            (&self.prompt, tokens.prompt),
            (&self.completion, tokens.completion),
            (&self.reasoning, tokens.reasoning),
            (&self.cached, tokens.cached),
        ] {
            if value > 0 {
                sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }

    fn by_kind(&self) -> [(&'static str, u64); 4] {
        [
            ("prompt", &self.prompt),
            ("completion", &self.completion),
            ("reasoning", &self.reasoning),
            ("cached", &self.cached),
        ]
        .map(|(kind, sum)| (kind, sum.load(Ordering::Relaxed)))
    }
}

/// The values of labels, in the order of the metric's table.
type Values = Vec<String>;

/// The metrics that several series have together.
#[derive(Default)]
struct Views {
    numbers: BTreeMap<(&'static str, Values), (&'static Metric, u64)>,
    counts: BTreeMap<(&'static str, Values), (&'static Metric, Counts)>,
}

impl Views {
    fn add_series(&mut self, key: &Key, series: &Series) {
        let (rpc, model, asked) = (key.rpc, &*key.model, &*key.asked);
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
        let names = [operation, "featherless", asked, model];
        let error = match (key.end, key.code) {
            (End::Finished, _) => "",
            (End::Cancelled, "") => "cancelled",
            (_, "") => OTHER,
            (_, code) => code,
        };
        let [a, b, c, d] = names;
        let with_error = [a, b, c, d, error];
        self.add_counts(table::GEN_AI_DURATION, &with_error, duration);
        self.add_counts(table::GEN_AI_SERVER_DURATION, &with_error, duration);
        self.add_counts(table::GEN_AI_FIRST_CHUNK, &names, first_token);
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
    fn move_to(self, samples: &mut Samples) {
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

fn of_key(keys: &RwLock<HashMap<Arc<str>, Arc<KeySeries>>>, name: &str) -> Arc<KeySeries> {
    if let Some(key) = read(keys).get(name) {
        return Arc::clone(key);
    }
    let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
    let name = if keys.len() < KEYS_MAX { name } else { OTHER };
    Arc::clone(keys.entry(name.into()).or_default())
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // No code panics while it holds the lock.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
