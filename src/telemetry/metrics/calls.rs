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
    telemetry::{
        finished::{End, FinishedCall},
        shard::PerShard,
    },
};

/// The largest number of models with labels of their own. Calls of others count for [`OTHER`].
const MODELS_MAX: usize = 200;

/// The largest number of combinations of labels with a model, in each shard. A caller can choose the door, the
/// model, its fallback, and how the call fails. Beyond it, calls count for the model [`OTHER`].
const SERIES_MAX: usize = 2000;

/// The largest number of keys with counters of their own. Calls of others count for [`OTHER`].
const KEYS_MAX: usize = 1000;

/// What is counted of calls. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct CallMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: PerShard<Shard>,
    /// The models in the labels.
    models: Growing<HashSet<Arc<str>>>,
    /// `None` if no key is a label.
    keys: Option<Growing<HashMap<Arc<str>, Arc<KeySeries>>>>,
    streams: AtomicI64,
}

/// What some threads have counted.
#[derive(Debug)]
struct Shard {
    series: Growing<HashMap<Key, Arc<Series>>>,
    request_bytes: [(&'static str, Histogram); 3],
    /// The failures by code, in the order of [`ErrorCode::ALL`], and those with other codes.
    failures: Vec<AtomicU64>,
}

impl Default for Shard {
    fn default() -> Self {
        let bytes_of = |door| (door, Histogram::new(&histogram::BYTES));
        let codes = 0..=ErrorCode::ALL.len();
        Self {
            series: Growing::default(),
            request_bytes: ["grpc", "grpc-web", "rest"].map(bytes_of),
            failures: codes.map(|_| AtomicU64::new(0)).collect(),
        }
    }
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
        Self(Arc::new(Inner {
            shards: PerShard::default(),
            models: Growing::default(),
            keys: has_keys.then(Growing::default),
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
        let shard = self.0.shards.own();
        if let Some(bytes) = call.model.and_then(|model| model.request_bytes) {
            let mut doors = shard.request_bytes.iter();
            if let Some((_, histogram)) = doors.find(|(door, _)| *door == call.door) {
                histogram.record(bytes);
            }
        }
        if let Some(error) = call.error.filter(|_| call.end == End::Failed) {
            let code = ErrorCode::from_name(&error.code);
            let place = code.map_or(ErrorCode::ALL.len(), |code| code as usize);
            if let Some(failures) = shard.failures.get(place) {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(keys) = &self.0.keys {
            record_key(keys, call);
        }
        let key = KeyRef::of(call);
        let all = shard.series.value.load();
        if let Some(series) = all.get(&key) {
            return series.record(call);
        }
        let key = with_room(key, &self.0.models.value.load());
        match all.get(&key) {
            Some(series) => series.record(call),
            None => self.add(shard, key).record(call),
        }
    }

    fn add(&self, shard: &Shard, key: KeyRef<'_>) -> Arc<Series> {
        let mut key = key;
        if key.has_model() {
            key = self.0.models.grow(|models| {
                let key = with_room(key, models);
                models.extend([key.asked.into(), key.model.into()]);
                key
            });
        }
        shard.series.grow(|all| {
            // Without a model, all labels come from closed lists.
            let key = match all.len() < SERIES_MAX {
                true => key,
                false => key.of_other_model(),
            };
            Arc::clone(all.entry(Key::from(&key)).or_insert_with(Series::new))
        })
    }

    /// Adds the values of the metrics of calls.
    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub fn collect(&self, samples: &mut Samples) {
        let mut views = Views::default();
        let shards: Vec<_> = self.0.shards.all().collect();
        for shard in &shards {
            for (key, series) in &*shard.series.value.load_full() {
                views.add_series(key, series);
            }
        }
        views.move_to(samples);
        let names = ErrorCode::ALL.iter().map(|code| code.as_str());
        for (place, code) in names.chain([OTHER]).enumerate() {
            let failures = shards.iter().filter_map(|shard| shard.failures.get(place));
            let number: u64 = failures.map(|number| number.load(Ordering::Relaxed)).sum();
            samples.add(table::FAILED_CALLS, &[code], number as f64);
        }
        for (place, door) in ["grpc", "grpc-web", "rest"].into_iter().enumerate() {
            let mut counts = Counts::new(&histogram::BYTES);
            let doors = shards
                .iter()
                .filter_map(|shard| shard.request_bytes.get(place));
            doors.for_each(|(_, histogram)| counts.add(histogram));
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

/// The labels, if there is room for their model among `models`. A model that has no label is another
/// one.
fn with_room<'a>(key: KeyRef<'a>, models: &HashSet<Arc<str>>) -> KeyRef<'a> {
    let has_room = models.len() < MODELS_MAX;
    let has_label = |model: &str| models.contains(model);
    if has_room || !key.has_model() || (has_label(key.model) && has_label(key.asked)) {
        return key;
    }
    key.of_other_model()
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
