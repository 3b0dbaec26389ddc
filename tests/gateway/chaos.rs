//! Every fault in every phase of a call, through every door: the call ends as the table says, in
//! time, and leaves nothing behind.
//!
//! The table has every possible cell. Plain unary calls have the phases up to [`Phase::Body`].
//! Unary calls that are streamed upstream have the phases of a stream. So every door goes through
//! every phase, except that a stream has no `Body`.
//!
//! Each failure before the caller has received anything is played once more with a fallback: then
//! another model answers, and the caller sees no error.
//!
//! The account has one unit, so the next call is answered only if the previous call has returned
//! it.

use crate::support::{Gateway, Reply, Scripted, scripted::whole};

mod log;
mod player;
mod step;
mod table;
mod wire;

use log::Log;
use player::{cure_all, play_all};
use step::ID;
use table::Phase::*;

#[test]
fn no_fault_while_units_are_waited_for_leaves_a_trace() {
    play_all(Queue);
}

#[test]
fn no_fault_before_another_try_leaves_a_trace() {
    play_all(Retry);
}

#[test]
fn no_fault_while_connecting_leaves_a_trace() {
    play_all(Connect);
}

#[test]
fn no_fault_before_the_headers_leaves_a_trace() {
    play_all(Headers);
}

#[test]
fn no_fault_in_a_whole_answer_leaves_a_trace() {
    play_all(Body);
}

#[test]
fn no_fault_before_the_first_token_leaves_a_trace() {
    play_all(FirstToken);
}

#[test]
fn no_fault_in_the_middle_looks_like_an_end_or_leaves_a_trace() {
    play_all(MidStream);
}

#[test]
fn no_fault_after_the_last_chunk_leaves_a_trace() {
    play_all(LastChunk);
}

#[test]
fn nothing_after_the_end_spoils_the_answer() {
    play_all(Done);
}

#[test]
fn another_model_cures_what_fails_before_the_headers() {
    cure_all(Headers);
}

#[test]
fn another_model_cures_a_whole_answer_that_fails() {
    cure_all(Body);
}

#[test]
fn another_model_cures_what_fails_before_the_first_token() {
    cure_all(FirstToken);
}

#[test]
fn another_model_cures_what_fails_in_the_middle_of_a_stream_that_is_added_up() {
    cure_all(MidStream);
}

#[test]
fn another_model_cures_what_fails_at_the_end_of_a_stream_that_is_added_up() {
    cure_all(LastChunk);
}

#[test]
fn a_request_that_is_refused_has_failed_and_was_not_cancelled() {
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
