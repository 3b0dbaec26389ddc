//! What one call may use of the tokens and the budgets of its key: reserved before the call waits
//! for anything, and settled at its end.

use std::time::{Duration, Instant};

use tokio::time::{Instant as TokioInstant, timeout_at};

use super::{
    Identity,
    budget::BudgetUnit,
    clock,
    spending::{Amounts, Refusal, Reservation, Shortage, Terms},
};
use crate::error::{RateState, RateUnit, Result};

/// A call is refused if a budget leaves each of its choices less tokens than this.
pub const CHOICE_TOKENS_MIN: u64 = 16;

/// The largest number of tokens of a choice, if nobody says one.
const MAX_TOKENS: u64 = 4096;

/// The longest wait of a call for a lease. Every second, gateways give back what they do not need.
const LEASE_WAIT_MAX: Duration = Duration::from_millis(2500);

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The tokens of the prompt, estimated rather too high.
    pub prompt_tokens: u64,
    /// How many choices are generated. 0 if the answer has no tokens.
    pub choices: u64,
    /// The largest number of tokens of each choice, by the request or for all requests of its kind.
    pub max_tokens: Option<u64>,
    /// The largest number of tokens of a choice that the model generates, if there is no other one.
    pub model_max_tokens: Option<u64>,
}

/// What a call may use. Dropping it settles it: the call has used nothing.
#[derive(Debug)]
pub struct Allowance {
    identity: Identity,
    prompt_tokens: u64,
    max_tokens: Option<u64>,
    /// What the call has taken of the tokens of a minute.
    minute: Option<Minute>,
    reservation: Reservation,
    used: Amounts,
}

/// What a call has taken of the tokens of a minute.
#[derive(Clone, Copy, Debug)]
struct Minute {
    /// The state of the limit then.
    state: RateState,
    taken: u64,
    at: Instant,
}

impl Identity {
    /// Whether calls of the key reserve what they use.
    pub fn is_metered(&self) -> bool {
        let limits = self.limits();
        limits.tokens_per_minute.is_some() || !limits.budgets.is_empty()
    }

    /// Whether the key has a limit of tokens.
    pub fn limits_tokens(&self) -> bool {
        let limits = self.limits();
        let mut budgets = limits.budgets.iter();
        limits.tokens_per_minute.is_some() || budgets.any(|budget| budget.of == BudgetUnit::Tokens)
    }

    /// Whether the key has budgets.
    pub fn has_budgets(&self) -> bool {
        !self.limits().budgets.is_empty()
    }

    /// Reserves what a call may use. If a budget has less tokens left than the call asks for, the
    /// call gets what is left, and must generate less: see [`Allowance::max_tokens`]. If this
    /// gateway has leased too little of a budget that others share, it waits for more.
    ///
    /// # Errors
    /// [`Kind::Limited`](crate::error::Kind::Limited) if a budget or the limit of tokens in a
    /// minute has too little left. Nothing is reserved.
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if that is not known, because the
    /// database does not answer.
    pub async fn reserve(&self, ask: Ask, now: Instant) -> Result<Allowance> {
        let news = self.spending().news();
        let began = news.exchanges();
        let mut seen = began;
        let mut until = None;
        let mut terms = Terms::Whole;
        loop {
            let shortage = match self.try_reserve(ask, terms, now).await? {
                Ok(allowance) => return Ok(allowance),
                Err(shortage) => shortage,
            };
            if terms == Terms::Leased {
                let is_known = seen.number > began.number && !seen.is_failing;
                return Err(self.not_leased(&shortage, is_known));
            }
            let until = *until.get_or_insert_with(|| TokioInstant::now() + LEASE_WAIT_MAX);
            news.want_exchange();
            let exchange = news.exchange_after(seen.number);
            let is_late = timeout_at(until, exchange).await.is_err();
            seen = news.exchanges();
            if is_late || seen.is_failing {
                terms = Terms::Leased;
            }
        }
    }

    /// Reserves what a call may use. The inner error: this gateway has leased too little.
    async fn try_reserve(
        &self,
        ask: Ask,
        terms: Terms,
        now: Instant,
    ) -> Result<Result<Allowance, Shortage>> {
        let budgets = &self.limits().budgets;
        let of_choices = |tokens: u64| tokens.saturating_mul(ask.choices);
        // The upstream keeps to this by itself.
        let kept = ask.max_tokens.or(ask.model_max_tokens);
        let wanted = kept.unwrap_or(MAX_TOKENS);
        let least = wanted.min(CHOICE_TOKENS_MIN);
        let with_prompt = |tokens: u64| ask.prompt_tokens.saturating_add(of_choices(tokens));
        let amounts = Amounts {
            tokens: with_prompt(wanted),
            requests: 1,
            // How long a call takes is not known. It starts if anything is left, beside what
            // running calls have used so far.
            unit_ms: 1,
        };
        let at = clock::now();
        let reservation = self
            .spending()
            .reserve(budgets, amounts, with_prompt(least), terms, at);
        let reservation = match reservation {
            Ok(reservation) => reservation,
            Err(Refusal::NotLeased(shortage)) => return Ok(Err(shortage)),
            Err(Refusal::Reserved(shortage)) => return Err(self.reserved(&shortage)),
            Err(Refusal::Spent(shortage)) => return Err(self.spent(&shortage, at)),
        };
        let has_token_budget = budgets.iter().any(|budget| budget.of == BudgetUnit::Tokens);
        let minute = match self.limits().tokens_per_minute {
            Some(limit) => {
                // Without a number of the caller, only the prompt is known. The end settles it.
                let taken = with_prompt(ask.max_tokens.unwrap_or(least)).min(limit);
                let state = self.take_of_a_minute(RateUnit::Tokens, limit, taken, now);
                let state = state.await.map_err(|state| self.too_many_tokens(state))?;
                Some(Minute {
                    state,
                    taken,
                    at: now,
                })
            }
            None => None,
        };
        let granted = reservation.granted().tokens;
        let per_choice = granted
            .saturating_sub(ask.prompt_tokens)
            .checked_div(ask.choices);
        Ok(Ok(Allowance {
            identity: self.clone(),
            prompt_tokens: ask.prompt_tokens,
            max_tokens: per_choice.filter(|tokens| has_token_budget && Some(*tokens) != kept),
            minute,
            reservation,
            used: Amounts::default(),
        }))
    }
}

impl Allowance {
    /// The largest number of tokens that each choice may have, if the request has to say another
    /// number than it does.
    pub fn max_tokens(&self) -> Option<u64> {
        self.max_tokens
    }

    /// The estimate of the prompt's tokens.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// How many tokens of the budgets the call may use, with its prompt.
    #[cfg(test)]
    pub(super) fn granted_tokens(&self) -> u64 {
        self.reservation.granted().tokens
    }

    /// The state of the limit of tokens in a minute, if the key has one.
    pub fn rate(&self) -> Option<RateState> {
        self.minute.map(|minute| minute.state)
    }

    /// The call holds `units` units from now on.
    pub fn hold_units(&mut self, units: u32) {
        self.reservation.hold_units(units);
    }

    /// The call holds no units any more.
    pub fn release_units(&mut self) {
        self.reservation.release_units();
    }

    /// Settles what the call has used.
    pub fn settle(mut self, used: Amounts) {
        self.used = used;
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.reservation.record(self.used);
        if let Some(Minute { state, taken, at }) = self.minute {
            let ago = TokioInstant::now().into_std().saturating_duration_since(at);
            let used = self.used.tokens;
            self.identity.settle_tokens(state, taken, used, ago);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Key, KeySettings, Role};

    fn identity(change: impl FnOnce(&mut KeySettings)) -> Identity {
        let mut settings = KeySettings::named("app");
        change(&mut settings);
        Identity::for_test(Key {
            id: uuid::Uuid::now_v7(),
            role: Role::Inference,
            settings,
            created_at: 0,
            revoked_at: None,
            calls_cut_at: None,
            last_used_at: None,
            secrets: Vec::new(),
        })
    }

    fn with_budget(budget: &str) -> Identity {
        identity(|settings| settings.limits.budgets = vec![budget.parse().unwrap()])
    }

    const ASK: Ask = Ask {
        prompt_tokens: 40,
        choices: 2,
        max_tokens: Some(100),
        model_max_tokens: Some(2000),
    };

    fn spent(identity: &Identity) -> (u64, u64) {
        identity
            .spending()
            .state(&identity.limits().budgets[0], clock::now())
    }

    #[tokio::test]
    async fn a_call_gets_what_is_left_and_is_refused_below_the_least() {
        let now = Instant::now();
        let key = with_budget("tokens=400/total");
        let first = key.reserve(ASK, now).await.unwrap();
        assert_eq!((first.max_tokens(), spent(&key)), (None, (0, 240)));
        let second = key.reserve(ASK, now).await.unwrap();
        assert_eq!(second.max_tokens(), Some(60));
        let refused = key.reserve(ASK, now).await.unwrap_err();
        assert_eq!(refused.code(), "budget_exhausted");
        assert!(refused.message().contains("0 of 400 tokens"), "{refused}");
        assert!(refused.message().contains("reserved 400"), "{refused}");
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(2)));
        first.settle(Amounts {
            tokens: 70,
            ..Amounts::default()
        });
        assert_eq!(spent(&key), (70, 160));
        drop(second);
        assert_eq!(spent(&key), (70, 0));
        // Less than the prompt and 16 tokens for each choice.
        let long = Ask {
            prompt_tokens: 300,
            ..ASK
        };
        let refused = key.reserve(long, now).await.unwrap_err();
        assert!(refused.message().contains("330 of 400 tokens"), "{refused}");
        assert!(refused.retry_after().is_none(), "it does not renew");
        let fits = Ask {
            prompt_tokens: 298,
            ..ASK
        };
        let fits = key.reserve(fits, now).await.unwrap();
        assert_eq!(fits.max_tokens(), Some(16));
    }

    #[tokio::test]
    async fn a_call_that_sets_no_number_gets_one_if_no_other_holds() {
        let ask = Ask {
            max_tokens: None,
            ..ASK
        };
        let unknown = Ask {
            model_max_tokens: None,
            ..ask
        };
        let max_tokens = async |budget, ask| {
            let key = with_budget(budget);
            let allowance = key.reserve(ask, Instant::now()).await.unwrap();
            (allowance.max_tokens(), spent(&key).1)
        };
        let large = "tokens=100000/day";
        assert_eq!(max_tokens(large, ask).await, (None, 4040));
        assert_eq!(max_tokens(large, unknown).await, (Some(4096), 8232));
        for ask in [ask, unknown] {
            let small = max_tokens("tokens=1000/day", ask).await;
            assert_eq!(small, (Some(480), 1000));
            assert_eq!(max_tokens("requests=1000/day", ask).await.0, None);
        }
        let vectors = Ask { choices: 0, ..ask };
        let key = with_budget("tokens=100000/day");
        let allowance = key.reserve(vectors, Instant::now()).await.unwrap();
        assert_eq!((allowance.max_tokens(), spent(&key)), (None, (0, 40)));
    }

    #[tokio::test]
    async fn tokens_of_a_minute_are_taken_first_and_settled_at_the_end() {
        let key = identity(|settings| settings.limits.tokens_per_minute = Some(600));
        let now = Instant::now();
        let first = key.reserve(ASK, now).await.unwrap();
        assert_eq!(first.rate().unwrap().remaining, 360);
        let second = key.reserve(ASK, now).await.unwrap();
        let refused = key.reserve(ASK, now).await.unwrap_err();
        assert_eq!(refused.code(), "rate_limit_exceeded");
        assert_eq!(refused.rate().unwrap().0, RateUnit::Tokens);
        assert!(refused.retry_after().unwrap() <= Duration::from_secs(12));
        drop((first, second));
        let third = key.reserve(ASK, Instant::now()).await.unwrap();
        // Some of it had come back with the time already, which is rounded down.
        assert!((359..=360).contains(&third.rate().unwrap().remaining));
    }

    #[tokio::test]
    async fn a_call_that_the_minute_refuses_reserves_nothing_of_a_budget() {
        let key = identity(|settings| {
            settings.limits.tokens_per_minute = Some(300);
            settings.limits.budgets = vec!["tokens=1000/day".parse().unwrap()];
        });
        let _first = key.reserve(ASK, Instant::now()).await.unwrap();
        assert!(key.reserve(ASK, Instant::now()).await.is_err());
        assert_eq!(spent(&key), (0, 240));
    }
}
