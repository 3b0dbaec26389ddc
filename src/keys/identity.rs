//! A caller that the gateway knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    key::Role,
    limits::Limits,
    rate::Rate,
    shared_rates::{Name, Sharing},
    spending::Spending,
    spending_news::SpendingNews,
};
use crate::{
    clock::UnixMs,
    config::Glob,
    error::{RateState, RateUnit},
};

/// A caller that the gateway knows. Cheap to clone; all clones share one state.
///
/// There is no default identity. A call without one is a bug, not a call of the first key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    id: Option<Uuid>,
    shared_number: u64,
    name: Arc<str>,
    role: Role,
    is_everyone: bool,
    expires_at: Option<UnixMs>,
    weight: u32,
    limits: Limits,
    /// The patterns of `limits.models`.
    models: Vec<Glob>,
    record: Arc<Record>,
}

/// What stays of a key when its settings change.
#[derive(Debug)]
pub(super) struct Record {
    /// A number that no other key of this process has.
    number: u32,
    /// Whether it was used since [`Identity::take_use`].
    was_used: AtomicBool,
    /// Whether its running calls end.
    is_cut: AtomicBool,
    /// Its calls in the last minute.
    calls: Rate,
    /// Its tokens in the last minute.
    tokens: Rate,
    /// Whether both are shared with other gateways.
    sharing: Sharing,
    spending: Arc<Spending>,
}

impl Record {
    /// The record of the key with this id, or of a key that is not in the database.
    pub(super) fn new(number: u32, id: Uuid, news: SpendingNews, sharing: Sharing) -> Arc<Self> {
        Arc::new(Self {
            number,
            was_used: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            calls: Rate::new(),
            tokens: Rate::new(),
            sharing,
            spending: Spending::new(id, news),
        })
    }

    /// Ends the running calls of the key, as soon as their tasks are woken. Returns whether they
    /// ended before.
    pub(super) fn cut(&self) -> bool {
        self.is_cut.swap(true, Ordering::AcqRel)
    }
}

impl Identity {
    /// The number of all callers of a gateway without keys.
    pub(super) const EVERYONE: u32 = 0;

    /// The number of the gateway itself.
    const GATEWAY: u32 = u32::MAX;

    /// A key of the database.
    pub(super) fn stored(
        id: Uuid,
        name: String,
        role: Role,
        limits: Limits,
        expires_at: Option<UnixMs>,
        record: Arc<Record>,
    ) -> Self {
        Self(Arc::new(Parts {
            id: Some(id),
            shared_number: folded(id),
            name: name.into(),
            role,
            is_everyone: false,
            expires_at,
            weight: limits.weight.unwrap_or(1).max(1),
            models: globs(&limits),
            limits,
            record,
        }))
    }

    /// An identity that is not in the database. It has no limits.
    pub(super) fn configured(name: String, number: u32, shared_number: u64, weight: u32) -> Self {
        Self::without_limits(name, (number, shared_number), weight, false)
    }

    fn without_limits(
        name: String,
        (number, shared_number): (u32, u64),
        weight: u32,
        is_everyone: bool,
    ) -> Self {
        Self(Arc::new(Parts {
            id: None,
            shared_number,
            name: name.into(),
            role: Role::Inference,
            is_everyone,
            expires_at: None,
            weight: weight.max(1),
            limits: Limits::default(),
            models: Vec::new(),
            record: Record::new(
                number,
                Uuid::nil(),
                SpendingNews::default(),
                Sharing::default(),
            ),
        }))
    }

    /// Every caller of a gateway without keys.
    pub(super) fn everyone() -> Self {
        Self::without_limits("everyone".to_owned(), (Self::EVERYONE, 0), 1, true)
    }

    /// The gateway itself, for what it asks on its own account.
    pub fn gateway() -> Self {
        Self::configured("gateway".to_owned(), Self::GATEWAY, u64::MAX, 1)
    }

    /// The id of the key in the database; `None` if it is not there.
    pub fn id(&self) -> Option<Uuid> {
        self.0.id
    }

    /// The name of the key. A key of `FEATHERWIRE_API_KEYS` is `env-1`, `env-2` and so on, in the
    /// order of the variable.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same name, to keep.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    /// What the key is for.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// When the key ends. `None` for never.
    pub fn expires_at(&self) -> Option<UnixMs> {
        self.0.expires_at
    }

    /// Whether this is every caller of a gateway without keys.
    pub fn is_everyone(&self) -> bool {
        self.0.is_everyone
    }

    /// A number that no other identity of this process has.
    pub fn number(&self) -> u32 {
        self.0.record.number
    }

    /// A number that no other identity has, on all gateways with the same keys. 0 for all callers of
    /// gateways without keys.
    pub fn shared_number(&self) -> u64 {
        self.0.shared_number
    }

    /// The share of the units, relative to the weights of other keys. At least 1.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }

    /// What the key may do.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Whether the key may use only some models.
    pub fn is_limited_to_models(&self) -> bool {
        !self.0.limits.models.is_empty()
    }

    /// Whether the key may use only some accounts of the gateway.
    pub fn is_pinned(&self) -> bool {
        !self.0.limits.accounts.is_empty()
    }

    /// Whether the key may use the model with this name.
    pub fn may_use(&self, model: &str) -> bool {
        !self.is_limited_to_models() || self.0.models.iter().any(|glob| glob.matches(model))
    }

    /// Whether the running calls of the key must end, because it was revoked.
    pub fn is_cut(&self) -> bool {
        self.0.record.is_cut.load(Ordering::Acquire)
    }

    /// Its calls in the last minute.
    pub(super) fn calls(&self) -> &Rate {
        &self.0.record.calls
    }

    /// Its tokens in the last minute.
    pub(super) fn tokens(&self) -> &Rate {
        &self.0.record.tokens
    }

    /// Counts `amount` at `now`, if a `limit` in a minute allows it, which other gateways may share.
    pub(super) async fn take_of_a_minute(
        &self,
        of: RateUnit,
        limit: u64,
        amount: u64,
        now: Instant,
    ) -> Result<RateState, RateState> {
        let rate = match of {
            RateUnit::Requests => self.calls(),
            RateUnit::Tokens => self.tokens(),
        };
        match (self.0.record.sharing.get(), self.0.id) {
            (Some(shared), Some(key)) => {
                let name = Name { key, of };
                // Few gateways share limits. The others need no space for it in each call.
                Box::pin(shared.take(rate, name, limit, amount, now)).await
            }
            _ => rate.take(limit, amount, now),
        }
    }

    /// Corrects what was counted for a call: see [`Rate::settle`]. `state` is that of the limit when
    /// it was counted.
    pub(super) fn settle_tokens(&self, state: RateState, taken: u64, used: u64, ago: Duration) {
        let counted_limit = state.counted_limit();
        // A call that takes more than this gateway's share was counted as the whole share.
        let counted = taken.min(counted_limit);
        self.tokens().settle(counted_limit, counted, used, ago);
        if let (Some(shared), Some(key)) = (self.0.record.sharing.get(), self.0.id) {
            let of = RateUnit::Tokens;
            shared.settle(Name { key, of }, state.limit, taken, used, ago);
        }
    }

    /// What it has used of its budgets.
    pub(super) fn spending(&self) -> &Arc<Spending> {
        &self.0.record.spending
    }

    /// The identity of a key, as if it was in a database.
    #[cfg(test)]
    pub(super) fn for_test(key: super::Key) -> Self {
        let settings = key.settings;
        Self::stored(
            key.id,
            settings.name,
            key.role,
            settings.limits,
            settings.expires_at,
            Record::new(7, key.id, SpendingNews::default(), Sharing::default()),
        )
    }

    /// Records that the key is used.
    pub fn record_use(&self) {
        // A read of memory that all calls share is cheaper than a write.
        if self.id().is_some() && !self.0.record.was_used.load(Ordering::Relaxed) {
            self.0.record.was_used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the key was used since the last call of this.
    pub(super) fn take_use(&self) -> bool {
        self.0.record.was_used.swap(false, Ordering::Relaxed)
    }
}

/// The patterns of the models. One that cannot be read allows no model.
fn globs(limits: &Limits) -> Vec<Glob> {
    let globs = limits.models.iter().map(|text| Glob::parse(text));
    globs.filter_map(Result::ok).collect()
}

/// A key's id as a number. Ids are random in more bits than are needed to tell keys apart.
fn folded(id: Uuid) -> u64 {
    let (first, second) = id.as_u64_pair();
    first ^ second
}
