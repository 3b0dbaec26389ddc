//! Every fault in every phase of a call, through every door: the right end, in time, and no trace
//! of it after.
//!
//! The table has the cells that can exist. Plain unary calls have the phases up to [`Phase::Body`];
//! those of a stream they have as unary calls that are streamed upstream, so that every door goes
//! through every phase but one: a stream has no `Body`.
//!
//! What fails before the caller has seen anything is played once more with a fallback named: then
//! another model answers, and nobody sees that anything failed.
//!
//! The account has one unit, so that the next call is answered only if the one before has given it
//! back.

use std::{
    any::Any,
    cell::RefCell,
    future::Future,
    io,
    panic::catch_unwind,
    sync::{Arc, Condvar, Mutex, Once},
    time::Duration,
};

use featherwire::{
    config,
    error::Kind::{
        self, Forbidden, Invalid, Misconfigured, NotFound, NotReady, Saturated, Timeout,
        Unavailable,
    },
    proto::v1::chat_service_client::ChatServiceClient,
    server::Outcome,
    upstream::sse::EVENT_BYTES_MAX,
};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::Notify, time::Instant};
use tonic::{Request, transport::Channel};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::dynamic_filter_fn,
    layer::{Layer, SubscriberExt},
};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted,
    door::{frame, message},
    gateway::http,
    prompt,
    scripted::{STREAM_HEAD, Then, chunk, chunked, finish, whole},
};

/// How far the upstream has come when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Phase {
    /// The account's unit is another call's.
    Queue,
    /// There is no connection yet, or nothing was read from it.
    Connect,
    /// Upstream has refused, and is to be asked again.
    Retry,
    /// The request was read, and nothing answered.
    Headers,
    /// Half of a whole answer was sent.
    Body,
    /// The head of a stream was sent.
    FirstToken,
    /// The first words were sent.
    MidStream,
    /// The last words were sent, and that they are the last.
    LastChunk,
    /// `[DONE]` was sent.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nobody listens.
    Refuse,
    /// RST.
    Reset,
    /// Nothing more, on an open connection.
    Silence,
    /// Half of the next thing, and then silence.
    Stall,
    /// Comments without end.
    Babble,
    /// The connection is closed.
    Cut,
    /// Half of the next thing, and then the connection is closed.
    CutInside,
    /// The body's clean end, before the answer's.
    Eof,
    /// Half of an event, and then the body's clean end.
    EofInside,
    /// A reply with this status, and an error in JSON with this message.
    Status(u16, &'static str),
    /// A web page with this status; in a stream, in place of its rest.
    Html(u16),
    /// A status of failure, and then silence in the middle of the error.
    StatusThenSilence,
    /// An error that is a bare string, where an answer is expected.
    Error,
    /// The error object of an account without free units, where an answer is expected.
    Full,
    /// The same as a 429 whose `Retry-After` is longer than is waited for.
    FullForLong,
    /// The error object of a rate limit, where an answer is expected.
    Limited,
    /// The same as a 429 whose `Retry-After` is longer than is waited for.
    LimitedForLong,
    /// An error without a member `error`, as older engines send it, where a piece of an answer is
    /// expected.
    Unwrapped,
    /// An event that is named `error` and has a plain text.
    ErrorEvent,
    /// A piece that ends its choice for this reason, which is no good one, and then an end as if
    /// all were well.
    Reason(&'static str),
    /// Half of a JSON text, as if it were a whole one.
    BrokenJson,
    /// A line without end: more than is ever held. Bytes before it make no difference, so not every
    /// phase has it.
    GiantLine,
    /// Bytes that are no HTTP.
    Garbage,
    /// Silence, and the caller doesn't wait for its end.
    CallerLeaves,
    /// Silence until the caller's deadline.
    Deadline,
    /// Words without end until the caller's deadline.
    TalksOn,
}

/// How the call ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Finished,
    Failed(Kind, &'static str),
    Cancelled,
}

struct Cell(Phase, Fault, End, Attempts);

/// How often the upstream is asked, with three retries.
type Attempts = usize;

use End::{Cancelled, Failed, Finished};
use Fault::*;
use Kind::Upstream as Bad;
use Phase::*;

#[rustfmt::skip]
const TABLE: &[Cell] = &[
    Cell(Queue,      Silence,           Failed(Saturated, "queue_timeout"),                  0),
    Cell(Queue,      Deadline,          Failed(Timeout, "deadline_exceeded"),                0),
    Cell(Queue,      CallerLeaves,      Cancelled,                                           0),

    Cell(Connect,    Refuse,            Failed(Bad, "upstream_unreachable"),                 4),
    Cell(Connect,    Reset,             Failed(Bad, "upstream_closed"),                      4),
    Cell(Connect,    Cut,               Failed(Bad, "upstream_closed"),                      4),
    Cell(Connect,    Silence,           Failed(Timeout, "connect_timeout"),                  4),
    Cell(Connect,    Deadline,          Failed(Timeout, "deadline_exceeded"),                1),
    Cell(Connect,    CallerLeaves,      Cancelled,                                           1),

    Cell(Retry,      CallerLeaves,      Cancelled,                                           1),

    Cell(Headers,    Reset,             Failed(Bad, "upstream_closed"),                      4),
    Cell(Headers,    Cut,               Failed(Bad, "upstream_closed"),                      4),
    Cell(Headers,    CutInside,         Failed(Bad, "upstream_closed"),                      4),
    Cell(Headers,    Silence,           Failed(Timeout, "first_token_timeout"),              1),
    Cell(Headers,    Stall,             Failed(Timeout, "first_token_timeout"),              1),
    Cell(Headers,    Status(400, "bad"), Failed(Invalid, "upstream_refused"),                1),
    Cell(Headers,    Status(400, "The model is not ready for inference"), Failed(NotReady, "model_not_ready"), 1),
    Cell(Headers,    Status(401, "who"), Failed(Misconfigured, "featherless_api_key_rejected"), 1),
    Cell(Headers,    Status(403, "no"), Failed(Forbidden, "forbidden"),                      1),
    Cell(Headers,    Status(404, "no such model"), Failed(NotFound, "model_not_found"),      1),
    Cell(Headers,    Status(429, "full"), Failed(Saturated, "upstream_rate_limited"),        4),
    Cell(Headers,    Status(429, "plan limit: 1"), Failed(Saturated, "concurrency_limit_exceeded"), 1),
    Cell(Headers,    Status(500, "boom"), Failed(Bad, "upstream_error"),                     2),
    Cell(Headers,    Status(503, "No valid Executor"), Failed(Unavailable, "no_capacity"),   4),
    Cell(Headers,    Html(200),         Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(Headers,    Html(429),         Failed(Saturated, "upstream_rate_limited"),          4),
    Cell(Headers,    Status(502, "boom"), Failed(Bad, "upstream_error"),                     4),
    Cell(Headers,    Status(529, "overloaded"), Failed(Unavailable, "no_capacity"),          4),
    Cell(Headers,    Html(408),         Failed(Timeout, "upstream_timeout"),                 1),
    Cell(Headers,    Html(500),         Failed(Bad, "upstream_error"),                       2),
    Cell(Headers,    Html(502),         Failed(Bad, "upstream_error"),                       4),
    Cell(Headers,    Html(503),         Failed(Unavailable, "no_capacity"),                  4),
    Cell(Headers,    Html(504),         Failed(Timeout, "upstream_timeout"),                 1),
    Cell(Headers,    Html(520),         Failed(Bad, "upstream_error"),                       4),
    Cell(Headers,    Html(522),         Failed(Timeout, "upstream_timeout"),                 4),
    Cell(Headers,    Html(524),         Failed(Timeout, "upstream_timeout"),                 1),
    Cell(Headers,    Html(525),         Failed(Bad, "upstream_error"),                       4),
    Cell(Headers,    StatusThenSilence, Failed(Bad, "upstream_error"),                       2),
    Cell(Headers,    Error,             Failed(Bad, "upstream_stream_failed"),               1),
    Cell(Headers,    Full,              Failed(Saturated, "concurrency_limit_exceeded"),     6),
    Cell(Headers,    FullForLong,       Failed(Saturated, "concurrency_limit_exceeded"),     1),
    Cell(Headers,    LimitedForLong,    Failed(Saturated, "upstream_rate_limited"),          1),
    Cell(Headers,    BrokenJson,        Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(Headers,    GiantLine,         Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(Headers,    Garbage,           Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(Headers,    CallerLeaves,      Cancelled,                                           1),
    Cell(Headers,    Deadline,          Failed(Timeout, "deadline_exceeded"),                1),

    Cell(Body,       Reset,             Failed(Bad, "upstream_answer_cut"),                  1),
    Cell(Body,       Silence,           Failed(Timeout, "stream_stalled"),                   1),
    Cell(Body,       Babble,            Failed(Timeout, "first_token_timeout"),              1),
    Cell(Body,       Cut,               Failed(Bad, "upstream_answer_cut"),                  1),
    Cell(Body,       BrokenJson,        Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(Body,       CallerLeaves,      Cancelled,                                           1),
    Cell(Body,       Deadline,          Failed(Timeout, "deadline_exceeded"),                1),

    Cell(FirstToken, Reset,             Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, Silence,           Failed(Timeout, "first_token_timeout"),              1),
    Cell(FirstToken, Stall,             Failed(Timeout, "first_token_timeout"),              1),
    Cell(FirstToken, Babble,            Failed(Timeout, "first_token_timeout"),              1),
    Cell(FirstToken, Cut,               Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, CutInside,         Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, Eof,               Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, EofInside,         Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, Html(200),         Failed(Bad, "upstream_stream_cut"),                  4),
    Cell(FirstToken, Error,             Failed(Bad, "upstream_stream_failed"),               1),
    Cell(FirstToken, Unwrapped,         Failed(Bad, "upstream_stream_failed"),               1),
    Cell(FirstToken, ErrorEvent,        Failed(Bad, "upstream_stream_failed"),               1),
    Cell(FirstToken, Reason("abort"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(FirstToken, Reason("error"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(FirstToken, Full,              Failed(Saturated, "concurrency_limit_exceeded"),     6),
    Cell(FirstToken, Limited,           Failed(Saturated, "upstream_rate_limited"),          4),
    Cell(FirstToken, BrokenJson,        Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(FirstToken, GiantLine,         Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(FirstToken, CallerLeaves,      Cancelled,                                           1),
    Cell(FirstToken, Deadline,          Failed(Timeout, "deadline_exceeded"),                1),

    Cell(MidStream,  Reset,             Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  Silence,           Failed(Timeout, "stream_stalled"),                   1),
    Cell(MidStream,  Stall,             Failed(Timeout, "stream_stalled"),                   1),
    Cell(MidStream,  Babble,            Failed(Timeout, "stream_stalled"),                   1),
    Cell(MidStream,  Cut,               Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  CutInside,         Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  Eof,               Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  EofInside,         Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  Html(200),         Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(MidStream,  Error,             Failed(Bad, "upstream_stream_failed"),               1),
    Cell(MidStream,  Unwrapped,         Failed(Bad, "upstream_stream_failed"),               1),
    Cell(MidStream,  ErrorEvent,        Failed(Bad, "upstream_stream_failed"),               1),
    Cell(MidStream,  Reason("abort"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(MidStream,  Reason("error"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(MidStream,  Full,              Failed(Saturated, "concurrency_limit_exceeded"),     1),
    Cell(MidStream,  Limited,           Failed(Saturated, "upstream_rate_limited"),          1),
    Cell(MidStream,  BrokenJson,        Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(MidStream,  GiantLine,         Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(MidStream,  CallerLeaves,      Cancelled,                                           1),
    Cell(MidStream,  Deadline,          Failed(Timeout, "deadline_exceeded"),                1),
    Cell(MidStream,  TalksOn,           Failed(Timeout, "deadline_exceeded"),                1),

    Cell(LastChunk,  Reset,             Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(LastChunk,  Silence,           Failed(Timeout, "stream_stalled"),                   1),
    Cell(LastChunk,  Stall,             Failed(Timeout, "stream_stalled"),                   1),
    Cell(LastChunk,  Babble,            Failed(Timeout, "stream_stalled"),                   1),
    Cell(LastChunk,  Cut,               Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(LastChunk,  CutInside,         Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(LastChunk,  Eof,               Finished,                                            1),
    Cell(LastChunk,  EofInside,         Failed(Bad, "upstream_stream_cut"),                  1),
    Cell(LastChunk,  Error,             Failed(Bad, "upstream_stream_failed"),               1),
    Cell(LastChunk,  Unwrapped,         Failed(Bad, "upstream_stream_failed"),               1),
    Cell(LastChunk,  ErrorEvent,        Failed(Bad, "upstream_stream_failed"),               1),
    Cell(LastChunk,  Reason("abort"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(LastChunk,  Reason("error"),   Failed(Bad, "upstream_stream_failed"),               1),
    Cell(LastChunk,  Html(200),         Finished,                                            1),
    Cell(LastChunk,  Full,              Failed(Saturated, "concurrency_limit_exceeded"),     1),
    Cell(LastChunk,  BrokenJson,        Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(LastChunk,  GiantLine,         Failed(Bad, "upstream_bad_answer"),                  1),
    Cell(LastChunk,  CallerLeaves,      Cancelled,                                           1),
    Cell(LastChunk,  Deadline,          Failed(Timeout, "deadline_exceeded"),                1),

    // What comes after the answer can't spoil it.
    Cell(Done,       Reset,             Finished,                                            1),
    Cell(Done,       Silence,           Finished,                                            1),
    Cell(Done,       Babble,            Finished,                                            1),
    Cell(Done,       Cut,               Finished,                                            1),
    Cell(Done,       CutInside,         Finished,                                            1),
    Cell(Done,       GiantLine,         Finished,                                            1),
    Cell(Done,       Deadline,          Finished,                                            1),
    Cell(Done,       Error,             Finished,                                            1),
    Cell(Done,       BrokenJson,        Finished,                                            1),
];

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
            let post = http()
                .post(gateway.url("/v1/chat/completions"))
                .header("content-type", "application/json");
            let refused = post
                .header("x-request-id", ID)
                .body(body.to_owned())
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

/// Longer than any step of a cell takes on a busy machine, and shorter than any clock of the
/// gateway but the one that the cell is about.
const BOUND: Duration = Duration::from_secs(60);

/// The clock that the cell is about. Good calls of the same cell run under it too, so it is long
/// enough for one on a busy machine.
const CLOCK: Duration = Duration::from_secs(3);

/// How many cells all tests together play at the same time. They mostly wait for clocks; with more
/// of them, a busy machine takes longer for a step than what the gateway thinks of as soon.
const CELLS_AT_ONCE: usize = 32;

/// The places that are free for cells.
static FREE: (Mutex<usize>, Condvar) = (Mutex::new(CELLS_AT_ONCE), Condvar::new());

/// Plays in one of the places, and gives it back.
fn in_its_turn<T>(play: impl FnOnce() -> T) -> T {
    let (free, is_freed) = &FREE;
    *is_freed
        .wait_while(free.lock().unwrap(), |free| *free == 0)
        .unwrap() -= 1;
    let played = play();
    *free.lock().unwrap() += 1;
    is_freed.notify_one();
    played
}

const ID: &str = "chaos";

/// The model that answers in place of the one that fails.
const SECOND: &str = "org/second";

/// Plays the cells of a phase, each through all doors.
fn play_all(phase: Phase) {
    let doors = Door::ALL
        .into_iter()
        .filter(|door| !(phase == Body && door.is_stream()))
        .collect();
    play(phase, doors, false);
}

/// Plays the cells of a phase that another model cures, with one named, through all doors by which
/// the caller has seen nothing yet.
fn cure_all(phase: Phase) {
    let doors = Door::ALL
        .into_iter()
        .filter(|door| !(phase >= Body && phase != FirstToken && door.is_stream()));
    play(phase, doors.collect(), true);
}

/// Plays cells, several at a time, and fails with the list of all that went wrong.
fn play(phase: Phase, doors: Vec<Door>, has_fallback: bool) {
    let is_played = |cell: &&Cell| {
        cell.0 == phase && cell.can_be_made() && (!has_fallback || cell.is_curable())
    };
    let plays = TABLE
        .iter()
        .filter(is_played)
        .flat_map(|&Cell(_, fault, end, attempts)| {
            doors.iter().map(move |&door| Play {
                phase,
                fault,
                end,
                attempts,
                door,
                has_fallback,
            })
        });
    let plays = Mutex::new(plays);
    let (failures, left) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let next = || plays.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..CELLS_AT_ONCE {
            scope.spawn(|| {
                while let Some(play) = next() {
                    // Each play has a runtime of its own: what is left behind in it can only be of
                    // this play.
                    match in_its_turn(|| catch_unwind(|| play.run())) {
                        Ok(took) => left.lock().unwrap().extend(took),
                        Err(panic) => failures
                            .lock()
                            .unwrap()
                            .push(format!("{play:?}: {}", text(&*panic))),
                    }
                }
            });
        }
    });
    let (failures, mut left) = (failures.into_inner().unwrap(), left.into_inner().unwrap());
    left.sort_unstable();
    if let (Some(median), Some(longest)) = (left.get(left.len() / 2), left.last()) {
        let callers = left.len();
        println!(
            "{phase:?}: upstream saw {callers} callers leave after {median:?}, the slowest after \
             {longest:?}"
        );
    }
    assert!(
        failures.is_empty(),
        "{} cells:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied())
        .unwrap_or("?")
}

impl Cell {
    /// A connection that is neither taken nor refused needs Linux.
    fn can_be_made(&self) -> bool {
        cfg!(target_os = "linux")
            || !(self.0 == Connect && matches!(self.1, Silence | Deadline | CallerLeaves))
    }

    /// Whether another model may answer: not around a refusal, nor after the caller's deadline.
    fn is_curable(&self) -> bool {
        let Cell(_, fault, end, _) = self;
        let is_refusal = match fault {
            Status(400, what) => *what == "bad",
            Status(401 | 403 | 404, _) | Deadline | TalksOn => true,
            _ => false,
        };
        matches!(end, Failed(..)) && !is_refusal
    }
}

/// One cell at one door.
#[derive(Clone, Copy, Debug)]
struct Play {
    phase: Phase,
    fault: Fault,
    end: End,
    attempts: Attempts,
    door: Door,
    /// Another model is named, and answers.
    has_fallback: bool,
}

impl Play {
    /// Tells how long upstream took to see that the caller had left, if that is the fault. Every
    /// other clock is longer than [`BOUND`], so nothing but the caller's leaving can have closed
    /// the call.
    fn run(self) -> Option<Duration> {
        let log = Log::default();
        log.listen(self.play(&log))
    }

    async fn play(self, log: &Log) -> Option<Duration> {
        let mut upstream = Scripted::always(self.good()).await;
        let model = |id: &str| json!({"id": id, "concurrency_cost": 1});
        upstream.knows(json!({"data": [model(MODEL), model(SECOND)]}));
        let gateway = Gateway::with(upstream.address, |config| self.configure(config)).await;
        // What is made at the first use, and stays, is made now.
        self.ask(&gateway, &[]).await.ok();
        upstream.rests().await;
        let tasks = settled().await;
        let (asked, connections) = (posts(&upstream), upstream.connections());

        let held = self.break_upstream(&mut upstream, &gateway).await;
        let took = if matches!(self.end, Cancelled) {
            Some(within("the caller has left", self.leave(&gateway, &upstream, log)).await)
        } else {
            let begun = Instant::now();
            if self.has_fallback {
                within("the call ends", self.is_cured(&gateway)).await;
            } else {
                within("the call ends", self.fail(&gateway)).await;
            }
            self.check_clock(begun.elapsed());
            None
        };
        let word = match self.end {
            Finished => "finished",
            Failed(..) if self.has_fallback => "finished",
            Failed(..) => "failed",
            Cancelled => "cancelled",
        };
        log.until("the end is told", |log| log.count("call ended") > 0)
            .await;
        assert_eq!(log.count("call ended"), 1, "one end");
        assert_eq!(
            log.count(&format!("end=\"{word}\"")),
            1,
            "{word}, not {}",
            log.text()
        );
        let attempts = match (self.phase, self.fault) {
            (Connect, Reset | Cut) => upstream.connections() - connections,
            (Queue, _) => posts(&upstream) - asked - 1,
            (Connect, _) => 1 + log.text().matches("asking upstream again").count(),
            _ => posts(&upstream) - asked,
        };
        assert_eq!(
            attempts,
            self.attempts + usize::from(self.has_fallback),
            "attempts"
        );

        drop(held);
        self.mend(&mut upstream);
        let content = within("the next call ends", self.ask(&gateway, &[]))
            .await
            .ok()
            .content;
        assert_eq!(content, "half", "the next call is answered");
        let units = gateway.units("any").await;
        assert!(
            units["in_use"] == 0 && units["settling"] == 0,
            "no unit is held: {units}"
        );
        within("no request is open upstream", upstream.rests()).await;
        until("no task is left", || {
            Handle::current().metrics().num_alive_tasks() <= tasks
        })
        .await;
        assert_eq!(within("the drain", gateway.stop()).await, Outcome::Drained);
        assert!(
            log.text().contains(" calls=0"),
            "no call runs: {}",
            log.text()
        );
        took
    }

    /// The clock that the cell is about is short, and the others are longer than the bound: only
    /// that one can have ended the call.
    fn configure(self, config: &mut config::Serve) {
        let clock = |rings: bool| if rings { CLOCK } else { 4 * BOUND };
        let code = if let Failed(_, code) = self.end {
            code
        } else {
            ""
        };
        config.units.units = Some(1);
        config.units.queue_timeout = match code {
            "queue_timeout" => CLOCK,
            _ => 4 * BOUND,
        };
        let upstream = &mut config.upstream;
        upstream.connect_timeout = clock(code == "connect_timeout");
        upstream.first_token_timeout = clock(code == "first_token_timeout" && !self.has_fallback);
        config.models.fallback_first_token_timeout = clock(code == "first_token_timeout");
        upstream.idle_timeout = clock(code == "stream_stalled" || self.fault == StatusThenSilence);
        upstream.retries = 3;
        upstream.retry_wait = if self.phase == Retry {
            BOUND
        } else {
            Duration::from_millis(1)
        };
    }

    /// A clock does not ring early. Each of several tries has one of its own. That it rings at all,
    /// [`BOUND`] tells.
    fn check_clock(self, took: Duration) {
        let clock = match self.end {
            Failed(_, "queue_timeout") => CLOCK,
            Failed(Timeout, code) if code != "upstream_timeout" => CLOCK,
            _ => return,
        };
        let tries = if self.fault == Silence && self.phase == Connect {
            4
        } else {
            1
        };
        // The alarms of a deadline count from a call's arrival, a little after it was sent.
        assert!(took >= clock * tries, "the clock rang after {took:?}");
    }

    fn is_streamed_upstream(self) -> bool {
        self.door.is_stream() || self.phase >= FirstToken
    }

    fn headers(self) -> Vec<(&'static str, &'static str)> {
        let mut headers = Vec::new();
        if self.is_streamed_upstream() && !self.door.is_stream() {
            headers.push(("x-featherwire-unary-via-stream", "true"));
        }
        headers
    }

    async fn ask(
        self,
        gateway: &Gateway,
        more: &[(&'static str, &str)],
    ) -> crate::support::door::Answer {
        gateway
            .ask_with(
                self.door,
                &prompt(MODEL, "hi"),
                &[&self.headers(), more].concat(),
            )
            .await
    }

    /// Asks, and has what the table says.
    async fn fail(self, gateway: &Gateway) {
        // Tonic's client would keep `grpc-timeout` itself and never hear our answer.
        let deadline = CLOCK.as_millis().to_string();
        let mut headers = vec![("x-request-id", ID)];
        if matches!(self.fault, Deadline | TalksOn) {
            headers.push(("x-request-timeout-ms", &deadline));
        }
        let answer = self.ask(gateway, &headers).await;
        let had_text =
            self.phase >= MidStream && (self.door.is_stream() || matches!(self.end, Finished));
        if self.fault == TalksOn && had_text {
            assert!(
                answer.content.starts_with("halfhalf"),
                "what came is passed on: {answer:?}"
            );
        } else {
            assert_eq!(
                answer.content,
                if had_text { "half" } else { "" },
                "what came, and nothing else, is passed on"
            );
        }
        if let Failed(kind, code) = self.end {
            assert!(
                answer.finish_reason.is_none() || self.phase >= LastChunk,
                "never looks complete: {answer:?}"
            );
            answer.failed(kind, code);
        } else {
            answer.ok();
        }
    }

    /// Asks, and another model answers: alone, though the first had words already.
    async fn is_cured(self, gateway: &Gateway) {
        let headers = [("x-request-id", ID), ("x-featherwire-fallback", SECOND)];
        let answer = self.ask(gateway, &headers).await.ok();
        let Failed(_, code) = self.end else {
            panic!("there is nothing to cure")
        };
        assert_eq!(answer.content, "half");
        assert_eq!(answer.served_by.as_deref(), Some(SECOND));
        assert_eq!(answer.tried, Some(format!("{MODEL}={code}")));
    }

    /// Asks, leaves, and waits until upstream has seen it.
    async fn leave(self, gateway: &Gateway, upstream: &Scripted, log: &Log) -> Duration {
        let has_words = Notify::new();
        // This connection stays: only the stream on it is reset.
        let channel = gateway.channel().await;
        tokio::select! {
            () = self.listen(gateway, channel.clone(), &has_words) => panic!("the call ended before its caller left"),
            () = async {
                match self.phase {
                    Queue => gateway.queues(1).await,
                    Retry => log.until("it waits", |log| log.text().contains("asking upstream again")).await,
                    Connect => until("it connects", || is_connecting_to(upstream.address.port())).await,
                    _ if self.phase >= MidStream && self.door.is_stream() => has_words.notified().await,
                    _ => upstream.stuck().await,
                }
            } => {}
        }
        let left = Instant::now();
        if matches!(self.phase, Queue | Retry | Connect) {
            log.until("the call is given up", |log| log.count("call ended") > 0)
                .await;
        } else {
            upstream.closed().await;
        }
        let took = left.elapsed();
        drop(channel);
        took
    }

    /// A caller who tells when the first words have come.
    async fn listen(self, gateway: &Gateway, channel: Channel, has_words: &Notify) {
        let ask = prompt(MODEL, "hi");
        let headers = [&self.headers()[..], &[("x-request-id", ID)]].concat();
        let post = match self.door {
            Door::GrpcUnary | Door::GrpcStream => {
                let mut request = Request::new(message(&ask));
                for (name, value) in headers {
                    request.metadata_mut().insert(name, value.parse().unwrap());
                }
                let mut client = ChatServiceClient::new(channel);
                if self.door == Door::GrpcUnary {
                    let _ = client.create_chat_completion(request).await;
                    return;
                }
                let Ok(response) = client.stream_chat_completion(request).await else {
                    return;
                };
                let mut stream = response.into_inner();
                while let Ok(Some(piece)) = stream.message().await {
                    let mut deltas = piece
                        .choices
                        .into_iter()
                        .filter_map(|choice| choice.delta?.content);
                    if deltas.any(|text| text == "half") {
                        has_words.notify_one();
                    }
                }
                return;
            }
            Door::RestUnary | Door::RestStream => {
                let mut ask = ask;
                ask["stream"] = json!(self.door.is_stream());
                let post = http().post(gateway.url("/v1/chat/completions"));
                post.header("content-type", "application/json")
                    .body(ask.to_string())
            }
            Door::WebUnary | Door::WebStream => {
                let method = if self.door.is_stream() {
                    "StreamChatCompletion"
                } else {
                    "CreateChatCompletion"
                };
                let post =
                    http().post(gateway.url(&format!("/featherwire.v1.ChatService/{method}")));
                let post = post
                    .header("content-type", "application/grpc-web+proto")
                    .header("x-grpc-web", "1");
                post.body(frame(&prost::Message::encode_to_vec(&message(&ask))))
            }
        };
        let post = headers
            .into_iter()
            .fold(post, |post, (name, value)| post.header(name, value));
        let mut response = post.send().await.unwrap();
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            body.extend_from_slice(&bytes);
            if body.windows(4).any(|window| window == b"half") {
                has_words.notify_one();
            }
        }
    }

    /// From now on, the upstream does what the cell says. What is returned is held until it is
    /// mended.
    async fn break_upstream(
        self,
        upstream: &mut Scripted,
        gateway: &Gateway,
    ) -> Option<Box<dyn Any>> {
        match (self.phase, self.fault) {
            _ if self.has_fallback => upstream.breaks(Some((MODEL, self.reply()))),
            (Queue, _) => {
                upstream.replies(Reply::EventsThenSilence(vec![chunk("half")]));
                let mut ask = prompt(MODEL, "hi");
                ask["stream"] = json!(true);
                let post = http()
                    .post(gateway.url("/v1/chat/completions"))
                    .header("content-type", "application/json");
                return Some(Box::new(post.body(ask.to_string()).send().await.unwrap()));
            }
            (Connect, Refuse) => upstream.refuse().await,
            (Connect, Reset) => upstream.greets(Some(Then::Reset)),
            (Connect, Cut) => upstream.greets(Some(Then::Close)),
            #[cfg(target_os = "linux")]
            (Connect, _) => return Some(Box::new(upstream.ignore().await)),
            _ => upstream.replies(self.reply()),
        }
        None
    }

    fn mend(self, upstream: &mut Scripted) {
        match (self.phase, self.fault) {
            (Connect, Reset | Cut) => upstream.greets(None),
            (Connect, _) => upstream.listen(),
            _ if self.has_fallback => upstream.breaks(None),
            _ => upstream.replies(self.good()),
        }
    }

    fn good(self) -> Reply {
        if self.is_streamed_upstream() {
            Reply::Events(vec![chunk("half"), finish(), "[DONE]".to_owned()])
        } else {
            Reply::Json(200, whole("half"))
        }
    }

    /// What comes before the fault, and the fault.
    fn reply(self) -> Reply {
        let mut wire = String::new();
        match self.phase {
            Queue | Connect | Retry | Headers => {}
            // Half of the answer is as long as its head says that the whole is, if it is to look
            // like a whole.
            Body => {
                let whole = whole("half").to_string();
                let half = if self.fault == Babble {
                    ""
                } else {
                    whole.get(..whole.len() / 2).unwrap()
                };
                let length = match self.fault {
                    BrokenJson => half.len(),
                    Babble => 1 << 20,
                    _ => whole.len(),
                };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
                wire += &format!("{head}\r\ncontent-length: {length}\r\n\r\n{half}");
                if self.fault == BrokenJson {
                    return Reply::Wire(wire.into_bytes(), Then::Next);
                }
            }
            FirstToken | MidStream | LastChunk | Done => wire += STREAM_HEAD,
        }
        for (phase, data) in [
            (MidStream, chunk("half")),
            (LastChunk, finish()),
            (Done, "[DONE]".to_owned()),
        ] {
            if self.phase >= phase {
                wire += &event(&data);
            }
        }
        let (more, then) = match self.phase {
            Retry => Self::refusal(),
            Headers => self.head(),
            _ => self.piece(),
        };
        Reply::Wire((wire + &more).into_bytes(), then)
    }

    /// What is asked again.
    fn refusal() -> (String, Then) {
        let body = json!({"error": {"message": "No valid Executor", "type": "t", "code": null}})
            .to_string();
        let head = "HTTP/1.1 503 Scripted\r\ncontent-type: application/json";
        (
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            Then::Next,
        )
    }

    /// A fault in place of a head.
    fn head(self) -> (String, Then) {
        let reply = |status: u16, media_type: &str, body: &str| {
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\ncontent-type: {media_type}\r\nretry-after: 0"
            );
            (
                format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                Then::Next,
            )
        };
        let json = |status: u16, body: &Value| reply(status, "application/json", &body.to_string());
        let part = "HTTP/1.1 200 OK\r\ncontent-ty".to_owned();
        match self.fault {
            Stall => (part, Then::Silence),
            CutInside => (part, Then::Close),
            Status(429, what @ "plan limit: 1") => {
                // Asked again after a shorter wait, and how often depends on the machine.
                let refusal = json(
                    429,
                    &json!({"error": {"message": what, "type": "t", "code": null}}),
                )
                .0;
                (
                    refusal.replace("retry-after: 0", "retry-after: 60"),
                    Then::Next,
                )
            }
            Status(status, what) => json(
                status,
                &json!({"error": {"message": what, "type": "t", "code": null}}),
            ),
            Html(status) => reply(status, "text/html", "<html><h1>Bad gateway</h1></html>"),
            StatusThenSilence => (
                reply(500, "application/json", r#"{"error": "boom"}"#)
                    .0
                    .replace("boom\"}", ""),
                Then::Silence,
            ),
            Error => json(200, &json!({"error": "no data in 30000ms"})),
            Full => json(200, &full()),
            FullForLong => (
                json(429, &full())
                    .0
                    .replace("retry-after: 0", "retry-after: 60"),
                Then::Next,
            ),
            LimitedForLong => (
                json(429, &limited())
                    .0
                    .replace("retry-after: 0", "retry-after: 60"),
                Then::Next,
            ),
            BrokenJson => reply(200, "application/json", r#"{"id":"#),
            GiantLine => (
                format!("HTTP/1.1 200 OK\r\nx-giant: {}", "x".repeat(4 << 20)),
                Then::Silence,
            ),
            Garbage => (
                "220 smtp.example.com ESMTP\r\n\r\n".to_owned(),
                Then::Silence,
            ),
            _ => self.piece(),
        }
    }

    /// A fault in place of the next piece of a body.
    fn piece(self) -> (String, Then) {
        let part = chunked(r#"data: {"id":"chatcmpl-1","cho"#);
        let end = "0\r\n\r\n";
        match self.fault {
            Silence | CallerLeaves | Deadline => (String::new(), Then::Silence),
            Reset => (String::new(), Then::Reset),
            Cut => (String::new(), Then::Close),
            Stall => (part, Then::Silence),
            CutInside => (part, Then::Close),
            Eof => (end.to_owned(), Then::Next),
            EofInside => (part + end, Then::Next),
            Babble if self.phase == Body => (String::new(), Then::Repeat(b" ".to_vec())),
            Babble => (
                String::new(),
                Then::Repeat(chunked(": still here\n\n").into_bytes()),
            ),
            TalksOn => (
                String::new(),
                Then::Repeat(event(&chunk("half")).into_bytes()),
            ),
            Html(_) => (
                chunked("<html><h1>Bad gateway</h1></html>\n\n") + end,
                Then::Next,
            ),
            Error => (
                event(&json!({"error": "no data in 30000ms"}).to_string()),
                Then::Silence,
            ),
            Full => (event(&full().to_string()), Then::Silence),
            Limited => (event(&limited().to_string()), Then::Silence),
            Unwrapped => {
                let error = json!({"object": "error", "message": "boom", "type": "InternalServerError", "code": 500});
                (event(&error.to_string()), Then::Silence)
            }
            ErrorEvent => (chunked("event: error\ndata: boom\n\n"), Then::Silence),
            Reason(reason) => {
                let piece = crate::support::scripted::event(&json!({}), Some(reason));
                (event(&piece) + &event("[DONE]") + end, Then::Next)
            }
            BrokenJson => (event(r#"{"id":"#), Then::Silence),
            GiantLine => (
                chunked(&format!("data: {}", "x".repeat(EVENT_BYTES_MAX))),
                Then::Silence,
            ),
            Refuse | Status(..) | StatusThenSilence | Garbage | FullForLong | LimitedForLong => {
                panic!("{:?} has no {:?}", self.phase, self.fault)
            }
        }
    }
}

fn event(data: &str) -> String {
    chunked(&format!("data: {data}\n\n"))
}

fn full() -> Value {
    json!({"error": {"message": "full", "type": "t", "code": "concurrency_limit_exceeded"}})
}

fn limited() -> Value {
    json!({"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}})
}

fn posts(upstream: &Scripted) -> usize {
    upstream
        .seen()
        .iter()
        .filter(|seen| seen.head.starts_with("POST"))
        .count()
}

/// Whether some socket of this machine waits for a connection to this port.
fn is_connecting_to(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let to = format!(":{port:04X}");
    std::fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .lines()
        .any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&to))
                && fields.next() == Some(SYN_SENT)
        })
}

/// How many tasks there are when those that are about to end have ended.
async fn settled() -> usize {
    const QUIET_TURNS: usize = 200;
    let alive = || Handle::current().metrics().num_alive_tasks();
    let (mut tasks, mut turns) = (alive(), 0);
    while turns < QUIET_TURNS {
        tokio::task::yield_now().await;
        turns = if alive() < tasks { 0 } else { turns + 1 };
        tasks = tasks.min(alive());
    }
    tasks
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The gateway's log, of one thread alone.
#[derive(Clone, Default)]
struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    text: Mutex<String>,
    grown: Notify,
}

thread_local! {
    /// The log of the story that runs on this thread.
    static LISTENER: RefCell<Option<Log>> = const { RefCell::new(None) };
}

impl Log {
    /// Runs a story on this thread, and keeps what is logged on it.
    fn listen<T>(&self, story: impl Future<Output = T>) -> T {
        // One subscriber for the whole process: with one for each thread, `tracing` may decide for
        // good that nobody listens to a line, while it is first met on a thread where nobody does.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let ours = |metadata: &Metadata<'_>| metadata.target().starts_with("featherwire");
            let is_heard = dynamic_filter_fn(move |metadata, _| {
                ours(metadata) && LISTENER.with_borrow(Option::is_some)
            });
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(|| Listener);
            let lines = lines.with_filter(is_heard.with_max_level_hint(LevelFilter::DEBUG));
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines))
                .unwrap();
        });
        LISTENER.set(Some(self.clone()));
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(story);
        LISTENER.set(None);
        result
    }

    fn text(&self) -> String {
        self.0.text.lock().unwrap().clone()
    }

    /// How many lines about our call have this in them.
    fn count(&self, what: &str) -> usize {
        let id = format!("id=\"{ID}\"");
        self.text()
            .lines()
            .filter(|line| line.contains(&id) && line.contains(what))
            .count()
    }

    /// Waits until the log is like this.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        within(what, async {
            loop {
                let grown = self.0.grown.notified();
                if is_so(self) {
                    return;
                }
                grown.await;
            }
        })
        .await;
    }
}

/// Writes to the log of the thread that it is used on.
struct Listener;

impl io::Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LISTENER.with_borrow(|log| {
            if let Some(Log(lines)) = log {
                lines
                    .text
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(bytes));
                lines.grown.notify_waiters();
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
