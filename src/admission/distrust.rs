//! Models whose refusals say nothing of the account's units.
//!
//! A refusal is believed, and what it says corrects what we know. But a model can be refused again and again although
//! each time we were told in between that there are units, because of a bound of its own, say. Were that believed every
//! time, one such model would keep all others waiting.

use std::{collections::HashMap, sync::Arc, time::Instant};

/// So many refusals of one model in a row, each of a request that was sent after the last, are believed.
const BELIEVED: u32 = 3;

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
    /// A request of this model was refused. Whether that is believed to be about the account.
    ///
    /// Those that were under way together count once: what is free now is news to them all.
    pub(super) fn refused(&mut self, model: &Arc<str>, sent_at: Instant, now: Instant) -> bool {
        if self.models.len() >= MODELS_MAX && !self.models.contains_key(model) {
            self.models.clear();
        }
        let row = self.models.entry(Arc::clone(model)).or_insert(Row { refusals: 0, last: sent_at });
        if sent_at >= row.last {
            row.refusals = row.refusals.saturating_add(1);
            row.last = now;
        }
        row.refusals <= BELIEVED
    }

    /// One of this model was answered.
    pub(super) fn answered(&mut self, model: &str) {
        self.models.remove(model);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_model_that_is_refused_again_and_again_is_not_believed_until_it_is_answered() {
        let (mut distrust, model, mut now) = (Distrust::default(), "a/b".into(), Instant::now());
        let mut is_believed = |distrust: &mut Distrust| {
            let sent_at = now;
            now += SECOND;
            distrust.refused(&model, sent_at, now)
        };
        let told: Vec<_> = (0..6).map(|_| is_believed(&mut distrust)).collect();
        assert_eq!(told, [true, true, true, false, false, false]);
        distrust.answered("a/b");
        assert!(is_believed(&mut distrust));
    }

    #[test]
    fn those_that_were_under_way_together_count_once_and_models_apart() {
        let (mut distrust, now) = (Distrust::default(), Instant::now());
        for answered_after in 1..20 {
            assert!(distrust.refused(&"a/b".into(), now, now + SECOND * answered_after));
        }
        for model in 0..1000 {
            assert!(distrust.refused(&format!("a/{model}").into(), now, now));
        }
        assert!(distrust.models.len() <= MODELS_MAX);
    }
}
