//! What is counted of calls. Each call is counted once, at its end.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};

use super::{
    Samples,
    histogram::{self, Counts, Histogram},
    labels::{Key, KeyRef, OTHER},
    series::{Series, TokenSums},
    table,
    views::Views,
};
use crate::{
    error::ErrorCode,
    telemetry::finished::{End, FinishedCall},
};

/// The largest number of models with labels of their own. Calls of others count for [`OTHER`].
const MODELS_MAX: usize = 200;

/// The largest number of combinations of labels with a model. A caller can choose the door, the
/// model, its fallback, and how the call fails. Beyond it, calls count for the model [`OTHER`].
const SERIES_MAX: usize = 2000;

/// The largest number of keys with counters of their own. Calls of others count for [`OTHER`].
const KEYS_MAX: usize = 1000;

/// What is counted of calls. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct CallMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Growing<AllSeries>,
    /// `None` if no key is a label.
    keys: Option<Growing<HashMap<Arc<str>, Arc<KeySeries>>>>,
    request_bytes: [(&'static str, Histogram); 3],
    /// The failures by code, in the order of [`ErrorCode::ALL`], and those with other codes.
    failures: Vec<AtomicU64>,
    streams: AtomicI64,
}

#[derive(Clone, Debug, Default)]
struct AllSeries {
    series: HashMap<Key, Arc<Series>>,
    /// The models in the labels.
    models: HashSet<Arc<str>>,
}

#[derive(Debug, Default)]
struct KeySeries {
    ends: [AtomicU64; End::ALL.len()],
    tokens: TokenSums,
}

/// A collection that is read all the time, and rarely grows. Reading it takes no lock; a copy takes
/// its place when it grows.
#[derive(Debug, Default)]
struct Growing<T> {
    value: ArcSwap<T>,
    grows: Mutex<()>,
}

impl<T: Clone> Growing<T> {
    /// Changes a copy, which takes the place of the value.
    fn grow<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let _one_at_a_time = self.grows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copy = T::clone(&self.value.load());
        let result = change(&mut copy);
        self.value.store(Arc::new(copy));
        result
    }
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self::new(false)
    }
}

impl CallMetrics {
    /// `has_keys`: whether calls and tokens are also counted for each key.
    pub fn new(has_keys: bool) -> Self {
        let bytes_of = |door| (door, Histogram::new(&histogram::BYTES));
        Self(Arc::new(Inner {
            all: Growing::default(),
            keys: has_keys.then(Growing::default),
            request_bytes: ["grpc", "grpc-web", "rest"].map(bytes_of),
            failures: (0..=ErrorCode::ALL.len())
                .map(|_| AtomicU64::new(0))
                .collect(),
            streams: AtomicI64::new(0),
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
            let mut doors = self.0.request_bytes.iter();
            if let Some((_, histogram)) = doors.find(|(door, _)| *door == call.door) {
                histogram.record(bytes);
            }
        }
        if let Some(error) = call.error.filter(|_| call.end == End::Failed) {
            let code = ErrorCode::from_name(&error.code);
            let place = code.map_or(ErrorCode::ALL.len(), |code| code as usize);
            if let Some(failures) = self.0.failures.get(place) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(keys) = &self.0.keys {
            record_key(keys, call);
        }
        let all = self.0.all.value.load();
        let key = all.key_of(call);
        match all.series.get(&key) {
            Some(series) => series.record(call),
            None => self.0.all.grow(|all| all.add(call)).record(call),
        }
    }

    /// Adds the values of the metrics of calls.
    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub fn collect(&self, samples: &mut Samples) {
        let mut views = Views::default();
        for (key, series) in &self.0.all.value.load_full().series {
            views.add_series(key, series);
        }
        views.move_to(samples);
        let names = ErrorCode::ALL.iter().map(|code| code.as_str());
        for (code, number) in names.chain([OTHER]).zip(&self.0.failures) {
            let number = number.load(Ordering::Relaxed);
            samples.add(table::FAILED_CALLS, &[code], number as f64);
        }
        for (door, histogram) in &self.0.request_bytes {
            let mut counts = Counts::new(&histogram::BYTES);
            counts.add(histogram);
            samples.add_counts(table::REQUEST_BYTES, &[door], counts);
        }
        let streams = self.0.streams.load(Ordering::Relaxed).max(0);
        samples.add(table::STREAMS, &[], streams as f64);
        let Some(keys) = &self.0.keys else { return };
        for (name, key) in &*keys.value.load_full() {
            for (end, number) in End::ALL.iter().zip(&key.ends) {
                let number = number.load(Ordering::Relaxed);
                samples.add(table::KEY_CALLS, &[name, end.name()], number as f64);
            }
            for (kind, number) in key.tokens.by_kind() {
                samples.add(table::KEY_TOKENS, &[name, kind], number as f64);
            }
        }
    }
}

impl AllSeries {
    /// The labels of a call. A model that has no label is another one.
    fn key_of<'a>(&self, call: &'a FinishedCall<'_>) -> KeyRef<'a> {
        let key = KeyRef::of(call);
        let has_label = |model: &str| self.models.contains(model);
        let has_room = self.models.len() < MODELS_MAX;
        if has_room || !key.has_model() || (has_label(key.model) && has_label(key.asked)) {
            return key;
        }
        key.of_other_model()
    }

    fn add(&mut self, call: &FinishedCall<'_>) -> Arc<Series> {
        let mut key = self.key_of(call);
        // Without a model, all labels come from closed lists.
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&key) {
            key = key.of_other_model();
        }
        if key.has_model() {
            self.models.extend([key.asked.into(), key.model.into()]);
        }
        Arc::clone(
            self.series
                .entry(Key::from(&key))
                .or_insert_with(Series::new),
        )
    }
}

fn record_key(keys: &Growing<HashMap<Arc<str>, Arc<KeySeries>>>, call: &FinishedCall<'_>) {
    let Some(name) = call.key else { return };
    let record = |key: &KeySeries| {
        if let Some(end) = key.ends.get(call.end as usize) {
            end.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(model) = call.model {
            key.tokens.add(&model.tokens);
        }
    };
    let now = keys.value.load();
    let is_full = now.len() >= KEYS_MAX;
    if let Some(key) = now.get(name).or_else(|| now.get(OTHER).filter(|_| is_full)) {
        return record(key);
    }
    let key = keys.grow(|keys| {
        let name = if keys.len() < KEYS_MAX { name } else { OTHER };
        Arc::clone(keys.entry(name.into()).or_default())
    });
    record(&key);
}
