//! Models whose refusals say nothing of the account's units.
//!
//! A refusal is believed, and what it says corrects what we know. But a model can be refused again and again although
//! each time we were told in between that there are units, because of a bound of its own, say. Were that believed every
//! time, one such model would keep all others waiting.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// So many refusals of one model in a row, each of a request that was sent after the last, are believed.
const BELIEVED: u32 = 3;

/// How long a request of a model that isn't believed steps aside: doubled each time, from the first to the last.
const ASIDE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How many models are remembered. With one more, all are forgotten: it's only a matter of being believed again.
const MODELS_MAX: usize = 256;

/// How often each model was refused since it was last answered.
#[derive(Debug, Default)]
pub(super) struct Distrust {
    models: HashMap<Arc<str>, Row>,
}

#[derive(Debug)]
struct Row {
    refusals: u32,
    last: Instant,
}

impl Distrust {
    /// A request of this model was refused. If that says nothing of the account: for how long it steps aside.
    ///
    /// Those that were under way together count once: what is free now is news to them all.
    pub(super) fn refused(&mut self, model: &Arc<str>, sent_at: Instant, now: Instant) -> Option<Duration> {
        if self.models.len() >= MODELS_MAX && !self.models.contains_key(model) {
            self.models.clear();
        }
        let row = self.models.entry(Arc::clone(model)).or_insert(Row { refusals: 0, last: sent_at });
        if sent_at >= row.last {
            row.refusals = row.refusals.saturating_add(1);
            row.last = now;
        }
        let beyond = row.refusals.checked_sub(BELIEVED + 1)?;
        Some(ASIDE.0.saturating_mul(1 << beyond.min(16)).min(ASIDE.1))
    }

    /// One of this model was answered.
    pub(super) fn answered(&mut self, model: &str) {
        self.models.remove(model);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_model_that_is_refused_again_and_again_is_not_believed_until_it_is_answered() {
        let (mut distrust, model, mut now) = (Distrust::default(), "a/b".into(), Instant::now());
        let mut refused = |distrust: &mut Distrust| {
            let sent_at = now;
            now += seconds(1);
            distrust.refused(&model, sent_at, now)
        };
        let told: Vec<_> = (0..10).map(|_| refused(&mut distrust)).collect();
        let aside: Vec<_> = [1, 2, 4, 8, 16, 30, 30].into_iter().map(|aside| Some(seconds(aside))).collect();
        assert_eq!(told[..3], [None; 3]);
        assert_eq!(told[3..], aside);
        distrust.answered("a/b");
        assert_eq!(refused(&mut distrust), None);
    }

    #[test]
    fn those_that_were_under_way_together_count_once_and_models_apart() {
        let (mut distrust, now) = (Distrust::default(), Instant::now());
        for answered_after in 1..20 {
            assert_eq!(distrust.refused(&"a/b".into(), now, now + seconds(answered_after)), None);
        }
        for model in 0..1000 {
            assert_eq!(distrust.refused(&format!("a/{model}").into(), now, now), None);
        }
        assert!(distrust.models.len() <= MODELS_MAX);
    }
}
