//! The accounts that one call asks for one model: the best one first, and another one if that one
//! cannot answer. `waiting`: how it waits for the units of one.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{AccountPass, Accounts, Allowed, Set, UpstreamAccount, bit, no_account_has};
use crate::{
    error::{AccountFault, Error, Kind, Result},
    service::call::Call,
    upstream::catalogue::Snapshot,
};

mod waiting;

/// The accounts that one call asks for one model.
#[derive(Debug)]
pub(in crate::service) struct Turn<'a> {
    accounts: &'a Accounts,
    model: Arc<str>,
    /// The accounts that may be asked for the model.
    eligible: Set,
    /// Those that were asked, or need not be.
    asked: Set,
    /// The error that the caller gets if no account answers.
    failure: Option<Error>,
    copy: Option<Arc<Snapshot>>,
}

/// How good an account is for a request; the greatest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Upstream has not said that the account may not use the model.
    is_not_gated: bool,
    /// The plan is large enough, as far as it is known.
    is_within_plan: bool,
    starts_now: bool,
    /// An account whose limit no source tells attracts calls only if the others have no room.
    is_limit_known: bool,
    /// The shorter, the better.
    wait: Reverse<Duration>,
    /// The free units, in proportion to the weight of the account.
    free: u64,
}

impl<'a> Turn<'a> {
    /// Begins with all accounts that may be asked for `model`.
    pub(in crate::service) async fn begin(
        accounts: &'a Accounts,
        allowed: Allowed,
        model: &Arc<str>,
    ) -> Self {
        let mut turn = Self {
            accounts,
            model: Arc::clone(model),
            eligible: bit(0),
            asked: 0,
            failure: None,
            copy: None,
        };
        if accounts.list().len() == 1 {
            return turn;
        }
        // What a request costs is in it too.
        turn.copy = accounts.0.catalogue.get_soon().await;
        turn.eligible = accounts.eligible(allowed, model, turn.copy.as_deref());
        turn
    }

    /// The account to ask now.
    ///
    /// # Errors
    /// The error for the caller, if no other account is left.
    pub(in crate::service) fn next(&mut self, call: &Call) -> Result<&'a UpstreamAccount> {
        let accounts = self.accounts;
        if let [only] = accounts.list() {
            self.asked = bit(0);
            return Ok(only);
        }
        let (now, mut best) = (Instant::now(), None);
        for account in accounts.members(self.eligible & !self.asked) {
            let is_asked = match self.is_only() {
                true => Ok(()),
                false => accounts.circuits().check(&account.name, now),
            };
            let is_asked = is_asked.and_then(|()| account.circuits.check(&self.model, now));
            if let Err(error) = is_asked {
                keep_better(&mut self.failure, error);
                continue;
            }
            let rank = self.rank(account, call, now);
            if best.is_none_or(|(before, _)| rank > before) {
                best = Some((rank, account));
            }
        }
        let Some((_, account)) = best else {
            let failure = self.failure.take();
            return Err(failure.unwrap_or_else(|| no_account_has(&self.model)));
        };
        self.asked |= bit(account.index);
        Ok(account)
    }

    /// The permission to send a request to `account`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the upstream has refused the
    /// account since the call waits for units.
    pub(in crate::service) fn pass(&self, account: &UpstreamAccount) -> Result<AccountPass> {
        if self.accounts.list().len() == 1 {
            return Ok(AccountPass(None));
        }
        let (circuits, name) = (self.accounts.circuits(), Arc::clone(&account.name));
        let pass = match self.is_only() {
            true => circuits.pass_anyway(name, Instant::now()),
            false => circuits.pass(name, Instant::now())?,
        };
        Ok(AccountPass(Some(pass)))
    }

    /// Takes the `error` of `account`. Call [`next`](Self::next) afterwards.
    ///
    /// # Errors
    /// The error for the caller, if no other account may be asked.
    pub(in crate::service) fn take_error(
        &mut self,
        account: &UpstreamAccount,
        error: Error,
    ) -> Result<()> {
        if self.accounts.list().len() == 1 {
            return Err(error);
        }
        let of_same_upstream = || {
            let list = self.accounts.list().iter();
            let same = list.filter(|other| other.source == account.source);
            same.fold(0, |set, other| set | bit(other.index))
        };
        match error.account_fault() {
            AccountFault::Refused | AccountFault::Busy => {}
            AccountFault::Model => {
                // What the gateway itself says of the plan may change at any time.
                if error.is_of_upstream() {
                    let gated = &self.accounts.0.gated;
                    gated.add(account.index, &self.model, Instant::now());
                }
            }
            AccountFault::NoModel => self.asked |= of_same_upstream(),
            // The account has no units in time. Another one may have some.
            AccountFault::None if error.kind() == Kind::Saturated => {}
            // Another upstream may work.
            AccountFault::None if error.allows_fallback() => self.asked |= of_same_upstream(),
            AccountFault::None => return Err(error),
        }
        let is_left = self.eligible & !self.asked != 0;
        keep_better(&mut self.failure, error);
        match self.failure.take() {
            Some(error) if !is_left => Err(error),
            failure => {
                self.failure = failure;
                Ok(())
            }
        }
    }

    /// Notes for the record of `call` that `account` is asked, if there are several.
    pub(in crate::service) fn note_asked(&self, call: &Call, account: &UpstreamAccount) {
        if self.accounts.list().len() > 1 {
            call.note_account(&account.name);
        }
    }

    /// Records that `account` answers with the model.
    pub(in crate::service) fn record_answer(&self, account: &UpstreamAccount) {
        if self.accounts.list().len() > 1 {
            self.accounts.0.gated.remove(account.index, &self.model);
        }
    }

    /// Whether only one account can be asked for the model, so that the caller sees its error.
    fn is_only(&self) -> bool {
        self.eligible.count_ones() == 1
    }

    fn rank(&self, account: &UpstreamAccount, call: &Call, now: Instant) -> Rank {
        let outlook = account
            .units
            .outlook(call, &self.model, self.copy.as_deref());
        Rank {
            is_not_gated: !self.accounts.0.gated.has(account.index, &self.model, now),
            is_within_plan: outlook.is_none_or(|outlook| outlook.is_within_plan),
            starts_now: outlook.is_none_or(|outlook| outlook.starts_now),
            is_limit_known: outlook.is_some_and(|outlook| outlook.is_limit_known),
            wait: Reverse(outlook.map(|outlook| outlook.wait).unwrap_or_default()),
            free: outlook.map_or(0, |outlook| {
                u64::from(outlook.free) * u64::from(account.weight)
            }),
        }
    }
}

/// Keeps the error that tells the caller more: one of the request before one of the model, before
/// one of an account, before one of the gateway's own caution.
fn keep_better(kept: &mut Option<Error>, error: Error) {
    let rank = |error: &Error| match error.account_fault() {
        AccountFault::None => 4,
        AccountFault::Model => 3,
        AccountFault::Refused => 2,
        AccountFault::NoModel => 1,
        AccountFault::Busy => 0,
    };
    if kept.as_ref().is_none_or(|kept| rank(&error) > rank(kept)) {
        *kept = Some(error);
    }
}
