//! Every fault in every phase of a call, through every door: the call ends in time and as the table
//! says, and leaves nothing behind.
//!
//! The table has every possible cell. Plain unary calls have the phases up to [`Phase::Body`].
//! Unary calls that are streamed upstream have the phases of a stream. Therefore every door runs
//! through every phase, except that a stream has no `Body`.
//!
//! Each failure before the caller has received anything is tested again with a fallback: then
//! another model answers, and the caller gets no error.
//!
//! The account has one unit, so the next call is answered only if the previous call has released
//! the unit.

use crate::support::{Gateway, Reply, Scripted, scripted::whole};

mod log;
mod player;
mod step;
mod table;
mod wire;

use log::Log;
use player::{play_all, play_all_with_fallback};
use step::ID;
use table::Phase::*;

#[test]
fn a_fault_during_the_wait_for_units_leaves_nothing_behind() {
    play_all(Queue);
}

#[test]
fn a_fault_before_a_retry_leaves_nothing_behind() {
    play_all(Retry);
}

#[test]
fn a_fault_while_connecting_leaves_nothing_behind() {
    play_all(Connect);
}

#[test]
fn a_fault_before_the_headers_leaves_nothing_behind() {
    play_all(Headers);
}

#[test]
fn a_fault_in_a_unary_answer_leaves_nothing_behind() {
    play_all(Body);
}

#[test]
fn a_fault_before_the_first_token_leaves_nothing_behind() {
    play_all(FirstToken);
}

#[test]
fn a_fault_in_the_middle_is_an_error_and_leaves_nothing_behind() {
    play_all(MidStream);
}

#[test]
fn a_fault_after_the_last_chunk_leaves_nothing_behind() {
    play_all(LastChunk);
}

#[test]
fn nothing_after_the_end_changes_the_answer() {
    play_all(Done);
}

#[test]
fn a_fallback_answers_after_a_failure_before_the_headers() {
    play_all_with_fallback(Headers);
}

#[test]
fn a_fallback_answers_after_a_failure_in_a_unary_answer() {
    play_all_with_fallback(Body);
}

#[test]
fn a_fallback_answers_after_a_failure_before_the_first_token() {
    play_all_with_fallback(FirstToken);
}

#[test]
fn a_fallback_answers_after_a_failure_in_the_middle_of_an_accumulated_stream() {
    play_all_with_fallback(MidStream);
}

#[test]
fn a_fallback_answers_after_a_failure_at_the_end_of_an_accumulated_stream() {
    play_all_with_fallback(LastChunk);
}

#[test]
fn a_refused_request_counts_as_failed_and_not_as_cancelled() {
    let log = Log::default();
    log.listen(async {
        let upstream = Scripted::always(Reply::Json(200, whole("half"))).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.max_request_bytes = bytesize::ByteSize(1000)
        })
        .await;
        let long = format!(r#"{{"model": "{}"}}"#, "m".repeat(2000));
        for (calls, body) in ["{", r#"{"stream": "perhaps"}"#, r#"{"model": 7}"#, &long]
            .into_iter()
            .enumerate()
        {
            let refused = gateway
                .post_request("/v1/chat/completions", body)
                .header("x-request-id", ID)
                .send()
                .await
                .unwrap();
            assert!(refused.status().is_client_error(), "{body}");
            log.until("the end is told", |log| log.count("call ended") > calls)
                .await;
            assert_eq!(log.count("end=\"failed\""), calls + 1, "{}", log.text());
        }
    });
}
