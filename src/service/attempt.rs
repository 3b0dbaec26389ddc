//! Asks one model: at one account after the other, and again after a failure that another attempt
//! may cure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    accounts::{Turn, UpstreamAccount},
    call::Call,
    exchange::Exchange,
    route::Candidate,
    trace_notes::trace_units,
};
use crate::{
    admission::Permit,
    error::{Error, Result},
    telemetry::{CallTrace, TraceEvent},
    upstream::{self, Attempts, RequestOptions},
};

/// The longest wait between two attempts of one request during which it keeps its units. Before a
/// longer wait it gives them back. Afterwards it waits for units, before all requests of its key,
/// class and cost that came later.
const WAIT_WITH_UNITS_MAX: Duration = Duration::from_millis(400);

/// A request as it is sent upstream. Borrowed, because every future on the way has a copy of its
/// arguments.
pub(super) struct Sending<'a> {
    pub(super) path: &'static [&'static str],
    pub(super) body: Bytes,
    pub(super) options: RequestOptions<'a>,
}

/// Asks one model at one account after the other, until one answers.
pub(super) async fn ask<'a, X: Exchange>(
    call: &Call,
    turn: &mut Turn<'a>,
    candidate: &mut Candidate,
    sending: &Sending<'_>,
) -> Result<upstream::Reply<X::Answer>> {
    loop {
        let mut account = turn.next(call)?;
        let asking = ask_at::<X>(call, &mut account, turn, candidate, sending);
        match asking.await {
            Ok(reply) => {
                turn.record_answer(account);
                return Ok(reply);
            }
            Err(error) => {
                candidate.record_error(&error);
                turn.take_error(account, error)?;
            }
        }
    }
}

/// Asks one model at one account, as soon as there are units for it. Another account may have some
/// before: then it is that `account` from there on. Sends the request again after
/// a failure that another attempt may cure: after a short wait the client does that itself; before
/// a long one it returns the error with the wait ([`Attempts::take_later`]), and the units are
/// given back until then.
async fn ask_at<'a, X: Exchange>(
    call: &Call,
    account: &mut &'a UpstreamAccount,
    turn: &mut Turn<'a>,
    candidate: &mut Candidate,
    sending: &Sending<'_>,
) -> Result<upstream::Reply<X::Answer>> {
    let model = Arc::clone(&candidate.model);
    let (first, mut permit) = turn.acquire(call, account).await?;
    *account = first;
    let account = first;
    trace_units(call, &permit, permit.waited());
    let mut attempts = None;
    loop {
        let started = turn.pass(account).and_then(|pass| {
            let is_probe = candidate.start(&account.circuits, X::SILENCE_MIN)?;
            Ok((pass, is_probe))
        });
        let (account_pass, is_circuit_probe) = match started {
            Ok(started) => started,
            Err(error) => return Err(release_unsent(call, permit, error)),
        };
        let options = RequestOptions {
            model: Some(&model),
            first_token_max: candidate.first_token_max,
            no_retries: is_circuit_probe,
            ..sending.options
        };
        let attempts_now =
            attempts.get_or_insert_with(|| account.client.attempts(options, WAIT_WITH_UNITS_MAX));
        call.hold_units(permit.units());
        turn.note_asked(call, account);
        let sent = X::send(
            &account.client,
            attempts_now,
            sending.path,
            sending.body.clone(),
            options,
        )
        .await;
        account_pass.record(&sent);
        match sent {
            Ok(reply) => {
                permit.mark_admitted();
                candidate.mark_answering();
                call.stats.record_answer();
                call.trace(CallTrace::begin_answer);
                if X::IS_STREAM {
                    call.stats.record_first_token(call.arrived_at.elapsed());
                }
                call.stats.add_wait(permit.waited());
                let upstream::Reply { request_id, answer } = reply;
                call.note_answer(&model, request_id.as_ref());
                let answer = X::complete(answer, permit, candidate, &call.stats).await;
                if let Err(error) = &answer {
                    call.release_units();
                    call.trace(|trace| trace.fail_attempt(error));
                }
                return answer.map(|answer| upstream::Reply { request_id, answer });
            }
            Err(error) => {
                call.release_units();
                call.stats.sent.record_error(&error);
                // In memory of its own: it is rare.
                let again = retry(call, account, candidate, permit, &mut attempts, error);
                permit = Box::pin(again).await?;
            }
        }
    }
}

/// Waits for the next attempt after `error`. Returns the permit for it.
///
/// # Errors
/// `error` if another attempt is of no use; or the reason why there are no units for it.
async fn retry(
    call: &Call,
    account: &UpstreamAccount,
    candidate: &mut Candidate,
    permit: Permit,
    attempts: &mut Option<Attempts<'_>>,
    error: Error,
) -> Result<Permit> {
    let began = Instant::now();
    let waited = permit.waited();
    call.stats.begin_wait(call.arrived_at.elapsed());
    let permit = if account.units.is_refusal(&error) {
        call.stats.add_refusal();
        call.trace(|trace| trace.add_event(|| TraceEvent::UpstreamRefusal));
        candidate.pause();
        *attempts = None;
        permit
            .requeue_after_refusal(&error, &call.queue_position)
            .await
    } else if let Some((attempts, wait)) = attempts
        .as_mut()
        .and_then(|attempts| attempts.take_later().map(|wait| (attempts, wait)))
    {
        candidate.pause();
        let permit = permit
            .pause(wait, error.may_go_on_upstream(), &call.queue_position)
            .await;
        attempts.go_on(began.elapsed().saturating_sub(wait));
        permit
    } else {
        call.stats.add_wait(waited);
        permit.fail(&error);
        return Err(error);
    };
    match &permit {
        Ok(permit) => {
            call.stats.end_wait(permit.waited());
            trace_units(call, permit, began.elapsed());
        }
        Err(_) => _ = call.stats.add_wait(waited + began.elapsed()),
    }
    permit
}

/// Gives back the permit of a request that was not sent, as if it had left the queue.
fn release_unsent(call: &Call, permit: Permit, error: Error) -> Error {
    call.stats.add_wait(permit.waited());
    permit.cancel_unsent();
    error
}
