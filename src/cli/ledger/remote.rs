//! The ledger as a gateway sends it.

use std::ops::Range;

use prost_types::Timestamp;
use uuid::Uuid;

use crate::{
    cli::failure::Failure,
    clock::UnixMs,
    ledger::{ALL_TIME, Door, Ending, Grain, Grouping, Record, Rpc, TokenSource, Tokens},
    proto::{admin::v1::CallRecord, v1::UsageGroup},
    service::key_messages::timestamp,
};

/// The groups of a request.
pub(super) fn groups(grouping: Grouping) -> Vec<i32> {
    let time = grouping.by_time.map(|grain| match grain {
        Grain::Hour => UsageGroup::Hour,
        Grain::Day => UsageGroup::Day,
    });
    let key = grouping.by_key.then_some(UsageGroup::Key);
    let model = grouping.by_model.then_some(UsageGroup::Model);
    let account = grouping.by_account.then_some(UsageGroup::Account);
    let groups = [key, model, account, time].into_iter().flatten();
    groups.map(i32::from).collect()
}

/// When a time begins. Unset if it has no beginning.
pub(super) fn start(range: &Range<UnixMs>) -> Option<Timestamp> {
    (range.start > ALL_TIME.start).then(|| timestamp(range.start))
}

/// When a time ends. Unset if it has no end.
pub(super) fn end(range: &Range<UnixMs>) -> Option<Timestamp> {
    (range.end < ALL_TIME.end).then(|| timestamp(range.end))
}

/// A time of an answer.
pub(in crate::cli) fn unix_ms(at: Timestamp) -> UnixMs {
    at.seconds.saturating_mul(1000) + i64::from(at.nanos / 1_000_000)
}

/// Seconds of an answer, in milliseconds.
pub(in crate::cli) fn ms(seconds: f64) -> u64 {
    // What is not a number, or negative, is 0.
    (seconds * 1000.0).round() as u64
}

/// A number of an answer.
pub(in crate::cli) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// The call in an answer.
///
/// # Errors
/// The gateway is of another version, and the call has something that this one does not know.
pub(super) fn record(call: CallRecord) -> Result<Record, Failure> {
    known(call).ok_or_else(|| {
        Failure::failed(
            "the gateway's answer has a call that this version does not understand: use the \
             gateway's version of this command",
        )
    })
}

fn known(call: CallRecord) -> Option<Record> {
    let text = |text: String| (!text.is_empty()).then(|| text.into_boxed_str());
    let small = |value: i32| u32::try_from(value).unwrap_or_default();
    Some(Record {
        ended_at: unix_ms(call.ended_at?),
        id: Uuid::try_parse(&call.id).ok()?,
        key_id: Uuid::try_parse(&call.key_id).ok()?,
        key_name: call.key.into(),
        door: Door::from_name(&call.door)?,
        rpc: Rpc::from_name(&call.rpc)?,
        model_asked: call.model_asked.into(),
        model: call.model.into(),
        account: call.account.into(),
        ending: Ending::from_name(&call.ending)?,
        error_code: text(call.error_code),
        tokens: Tokens {
            prompt: number(call.prompt_tokens),
            completion: number(call.completion_tokens),
            reasoning: number(call.reasoning_tokens),
            cached: number(call.cached_tokens),
            source: TokenSource::from_name(&call.token_source)?,
        },
        units: small(call.units),
        unit_ms: ms(call.unit_seconds),
        waited_ms: number(call.waited_ms),
        first_token_ms: call.first_token_ms.map(number),
        duration_ms: number(call.duration_ms),
        attempts: small(call.attempts),
        request_id: text(call.request_id),
        upstream_request_id: text(call.upstream_request_id),
    })
}
