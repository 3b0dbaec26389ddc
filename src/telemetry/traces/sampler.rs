//! Which calls are recorded, as `OTEL_TRACES_SAMPLER` says.

use super::context::{Context, SAMPLED, TraceId};

/// Which calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the decision of a caller who sends one counts.
    pub follows_caller: bool,
    /// The share of the other calls, from 0 to 1.
    pub share: f64,
}

impl Sampler {
    /// Whether a call is recorded. `caller` is the context that the caller sends.
    pub(super) fn samples(&self, caller: Option<&Context>, trace_id: TraceId) -> bool {
        /// 2⁶³, the number of the values that are compared.
        const VALUES: f64 = 9_223_372_036_854_775_808.0;
        match caller {
            Some(caller) if self.follows_caller => caller.flags & SAMPLED != 0,
            _ if self.share >= 1.0 => true,
            // As the SDKs of OpenTelemetry do, so that all services choose the same traces.
            _ => {
                #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
                let value = (trace_id.0 as u64) >> 1;
                #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
                let value = value as f64;
                value < self.share * VALUES
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::traces::context::SpanId;

    fn caller(flags: u8) -> Context {
        Context {
            trace_id: TraceId(1),
            span_id: SpanId(1),
            flags,
            state: None,
        }
    }

    #[test]
    fn a_share_of_the_calls_is_recorded_unless_the_caller_decides() {
        let sampler = |follows_caller, share| Sampler {
            follows_caller,
            share,
        };
        let last = TraceId(u128::MAX);
        assert!(sampler(true, 1.0).samples(None, last));
        assert!(!sampler(true, 0.0).samples(None, TraceId(1)));
        assert!(sampler(true, 0.0).samples(Some(&caller(1)), last));
        assert!(!sampler(true, 1.0).samples(Some(&caller(0)), last));
        assert!(sampler(false, 1.0).samples(Some(&caller(0)), last));
        let quarter = sampler(true, 0.25);
        let ids = (0..4000).map(|_| TraceId::random());
        let number = ids.filter(|id| quarter.samples(None, *id)).count();
        assert!((800..1200).contains(&number), "{number}");
        // The upper half of the id has no influence.
        let low = u128::from(u64::MAX / 4 - 1_000_000);
        assert!(quarter.samples(None, TraceId(low | (u128::from(u64::MAX) << 64))));
        assert!(!quarter.samples(None, TraceId(low + 2_000_000)));
    }
}
