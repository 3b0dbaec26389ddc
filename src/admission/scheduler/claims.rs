//! What a waiting class can claim from the other classes: the credit that it accrues while they
//! start requests, and the work by which they bypassed it.

use std::time::{Duration, Instant};

use super::work::Work;

/// The greatest credit of a class, in unit-seconds. A class that could not use its credit for long
/// does not get all of it at once.
const CREDIT_MAX: Work = Work::unit_seconds(600);

/// A class keeps its claims for this long after its last waiting request was cancelled. Otherwise a
/// class whose callers give up and try again would lose its claims each time.
const CLAIMS_KEPT_FOR: Duration = Duration::from_secs(10);

/// The credit that a class accrued for one start in another class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CreditAccrual {
    work: Work,
    /// The class's busy period at that time. Credit of an earlier busy period is already gone.
    busy_period: u64,
}

/// What a class can claim from the other classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// A share of the work that other classes started while this class waited, less the work that
    /// this class started.
    pub(super) credit: Work,
    /// The work that other classes started when this class was next and its request did not fit.
    pub(super) bypassed: Work,
}

/// The claims of one class, and how long they last.
#[derive(Debug, Default)]
pub(super) struct ClassClaims {
    current: Claims,
    /// How often the claims have been reset.
    busy_period: u64,
    /// When the last waiting request was cancelled, if no request has come since.
    emptied_at: Option<Instant>,
}

impl ClassClaims {
    /// Records that a request waits, and that none did before.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        if self
            .emptied_at
            .take()
            .is_none_or(|emptied| now.saturating_duration_since(emptied) > CLAIMS_KEPT_FOR)
        {
            self.reset();
        }
    }

    /// Records that the last waiting request was cancelled.
    pub(super) fn record_cancelled(&mut self, now: Instant) {
        self.emptied_at = Some(now);
    }

    /// Ends all claims.
    pub(super) fn reset(&mut self) {
        self.current = Claims::default();
        self.busy_period += 1;
    }

    /// Accrues credit, and returns by how much it grew.
    pub(super) fn accrue(&mut self, work: Work) -> CreditAccrual {
        let before = self.current.credit;
        self.current.credit = (before + work).min(CREDIT_MAX);
        CreditAccrual {
            work: self.current.credit - before,
            busy_period: self.busy_period,
        }
    }

    /// Spends credit on `work` that this class starts.
    pub(super) fn spend(&mut self, work: Work) {
        self.current.credit = self.current.credit - work;
    }

    /// Takes back an `accrual`, because the request of the other class did not run after all.
    pub(super) fn refund(&mut self, accrual: CreditAccrual) {
        if accrual.busy_period == self.busy_period {
            self.current.credit = self.current.credit - accrual.work;
        }
    }

    /// Whether the credit is enough for a request with this expected `work`.
    pub(super) fn has_credit_for(&self, work: Work) -> bool {
        self.current.credit > Work::default() && self.current.credit >= work.min(CREDIT_MAX)
    }

    /// Records that another class started `work` when this class was next.
    pub(super) fn record_bypass(&mut self, work: Work) {
        self.current.bypassed = self.current.bypassed + work;
    }

    /// Records that units were reserved for this class, and that it started `work` on them.
    pub(super) fn repay_bypass(&mut self, work: Work) {
        self.current.bypassed = self.current.bypassed - work;
    }

    /// What this class can claim from the other classes.
    pub(super) fn current(&self) -> Claims {
        self.current
    }

    /// Restores the `claims` from before a start that did not happen after all.
    pub(super) fn restore(&mut self, claims: Claims) {
        self.current = Claims {
            credit: self.current.credit.max(claims.credit),
            bypassed: self.current.bypassed.max(claims.bypassed),
        };
    }
}
