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
        door::DOORS,
        finished::{End, FinishedCall},
        shard::PerShard,
    },
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
    shards: PerShard<Shard>,
    labels: Growing<Labels>,
    /// `None` if no key is a label.
    keys: Option<Growing<HashMap<Arc<str>, Arc<KeySeries>>>>,
    streams: AtomicI64,
}

/// What some threads have counted.
#[derive(Debug)]
struct Shard {
    series: Growing<HashMap<Key, Arc<Series>>>,
    /// By door, in the order of [`DOORS`].
    request_bytes: [Histogram; DOORS.len()],
    /// The failures by code, in the order of [`ErrorCode::ALL`], and those with other codes.
    failures: Vec<AtomicU64>,
}

impl Default for Shard {
    fn default() -> Self {
        let codes = 0..=ErrorCode::ALL.len();
        Self {
            series: Growing::default(),
            request_bytes: DOORS.map(|_| Histogram::new(&histogram::BYTES)),
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
            labels: Growing::default(),
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
            let mut doors = DOORS.iter().zip(&shard.request_bytes);
            if let Some((_, histogram)) = doors.find(|(door, _)| **door == call.door) {
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
        let key = self.admitted(key);
        match all.get(&key) {
            Some(series) => series.record(call),
            None => Self::add(shard, &key).record(call),
        }
    }

    /// The labels that a call counts under, if its own are beyond a bound.
    fn admitted<'a>(&self, key: KeyRef<'a>) -> KeyRef<'a> {
        // Without a model, all labels come from closed lists.
        if !key.has_model() {
            return key;
        }
        let labels = self.0.labels.value.load();
        match labels.find(&key) {
            Found::Known => key,
            Found::NoRoom => key.of_other_model(),
            Found::Room => self.0.labels.grow(|labels| labels.admit(key)),
        }
    }

    fn add(shard: &Shard, key: &KeyRef<'_>) -> Arc<Series> {
        let add = |all: &mut HashMap<Key, Arc<Series>>| {
            let series = all.entry(Key::from(key)).or_insert_with(Series::new);
            Arc::clone(series)
        };
        shard.series.grow(add)
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
        for (place, door) in DOORS.into_iter().enumerate() {
            let mut counts = Counts::new(&histogram::BYTES);
            let doors = shards
                .iter()
                .filter_map(|shard| shard.request_bytes.get(place));
            doors.for_each(|histogram| counts.add(histogram));
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

/// The labels with a model that all shards together have.
#[derive(Clone, Debug, Default)]
struct Labels {
    models: HashSet<Arc<str>>,
    combinations: HashSet<Key>,
}

/// What [`Labels`] say of a combination.
enum Found {
    /// It is one of them.
    Known,
    /// It can become one.
    Room,
    /// It cannot.
    NoRoom,
}

impl Labels {
    fn find(&self, key: &KeyRef<'_>) -> Found {
        let has_label = |model: &str| self.models.contains(model);
        let has_models = has_label(key.model) && has_label(key.asked);
        if self.combinations.contains(key) {
            Found::Known
        } else if self.combinations.len() < SERIES_MAX
            && (has_models || self.models.len() < MODELS_MAX)
        {
            Found::Room
        } else {
            Found::NoRoom
        }
    }

    /// The labels that a call with `key` counts under. Another thread may have taken the room.
    fn admit<'a>(&mut self, key: KeyRef<'a>) -> KeyRef<'a> {
        match self.find(&key) {
            Found::Known => key,
            Found::NoRoom => key.of_other_model(),
            Found::Room => {
                self.models.extend([key.asked.into(), key.model.into()]);
                self.combinations.insert(Key::from(&key));
                key
            }
        }
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

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::telemetry::finished::{ModelEnd, TokenCounts};

    fn record(metrics: &CallMetrics, asked: &str, model: &str) {
        let model = ModelEnd {
            asked: asked.into(),
            model: model.into(),
            tokens: TokenCounts::default(),
            has_answer: true,
            units: 1,
            unit_ms: 0,
            waited_ms: 0,
            first_token_ms: None,
            attempts: 1,
            retries: 0,
            fallbacks: 1,
            refusals: 0,
            request_bytes: None,
            upstream_request_id: None,
        };
        metrics.record(&FinishedCall {
            door: "rest",
            rpc: Some("CreateChatCompletion"),
            key: None,
            end: End::Finished,
            error: None,
            duration: Duration::ZERO,
            model: Some(&model),
        });
    }

    #[test]
    fn the_bounds_hold_for_all_threads_together_and_each_has_the_same_labels() {
        const THREADS: usize = 4;
        const MODELS: usize = 60;
        let metrics = CallMetrics::default();
        thread::scope(|scope| {
            for first in 0..THREADS {
                let metrics = &metrics;
                scope.spawn(move || {
                    for number in 0..MODELS * MODELS {
                        // Each thread begins with other combinations.
                        let number =
                            (number + first * MODELS * MODELS / THREADS) % (MODELS * MODELS);
                        let [asked, model] =
                            [number / MODELS, number % MODELS].map(|m| format!("m{m}"));
                        record(metrics, &asked, &model);
                    }
                });
            }
        });
        let labels = metrics.0.labels.value.load_full();
        assert_eq!(labels.combinations.len(), SERIES_MAX);
        let mut all = HashSet::new();
        let mut calls = 0;
        for shard in metrics.0.shards.all() {
            for (key, series) in &*shard.series.value.load_full() {
                all.insert(key.clone());
                let mut counts = Counts::new(&histogram::DURATION);
                counts.add(&series.duration);
                calls += counts.count();
            }
        }
        // One more for the others.
        assert_eq!(all.len(), SERIES_MAX + 1);
        assert_eq!(calls as usize, THREADS * MODELS * MODELS);
    }
}
