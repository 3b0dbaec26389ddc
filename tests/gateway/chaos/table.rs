//! The table: the effect of each fault in each phase of a call.

use featherwire::error::Kind::{
    self, Forbidden, Invalid, Misconfigured, NotFound, NotReady, Saturated, Timeout, Unavailable,
};

/// The phase of a call in which the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Phase {
    /// Another call holds the account's unit.
    Queue,
    /// There is no connection yet, or the upstream has read nothing from it.
    Connect,
    /// The upstream has refused the request, and the gateway waits before the retry.
    Retry,
    /// The request was read, and nothing was answered.
    Headers,
    /// Half of a unary answer was sent.
    Body,
    /// The head of a stream was sent.
    FirstToken,
    /// The first words were sent.
    MidStream,
    /// The last chunk was sent, with its finish reason.
    LastChunk,
    /// `[DONE]` was sent.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Connections are refused.
    Refuse,
    /// RST.
    Reset,
    /// Nothing more, on an open connection.
    Silence,
    /// Half of the next part, and then silence.
    Stall,
    /// Endless comments.
    Babble,
    /// The connection is closed.
    Cut,
    /// Half of the next part, and then the connection is closed.
    CutInside,
    /// A clean end of the body before the end of the answer.
    Eof,
    /// Half of an event, and then a clean end of the body.
    EofInside,
    /// A reply with this status, and an error in JSON with this message.
    Status(u16, &'static str),
    /// A web page with this status. In a stream, it replaces the rest of the stream.
    Html(u16),
    /// An error status, and then silence in the middle of the error's body.
    StatusThenSilence,
    /// An error that is a plain string, in place of an answer.
    Error,
    /// The error object of an account without free units, in place of an answer.
    Full,
    /// The same as a 429 whose `Retry-After` is longer than is waited for.
    FullForLong,
    /// The error object of a rate limit, in place of an answer.
    Limited,
    /// The same as a 429 whose `Retry-After` is longer than is waited for.
    LimitedForLong,
    /// An error without a member `error`, as older engines send it, in place of a piece of an
    /// answer.
    Unwrapped,
    /// An event that is named `error` and has a plain text.
    ErrorEvent,
    /// A chunk with this finish reason, which means a failure, and then a normal end of the stream.
    Reason(&'static str),
    /// Half of a JSON text, sent as if it were complete.
    BrokenJson,
    /// An endless line, longer than any buffer. The bytes before it make no difference, so only
    /// some phases have it.
    GiantLine,
    /// Bytes that are not HTTP.
    Garbage,
    /// Silence, during which the caller disconnects.
    CallerLeaves,
    /// Silence until the caller's deadline.
    Deadline,
    /// Endless content until the caller's deadline.
    TalksOn,
}

/// The end of the call.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Finished,
    Failed(Kind, &'static str),
    Cancelled,
}

pub struct Cell(pub Phase, pub Fault, pub End, pub Attempts);

/// The number of requests to the upstream, with three retries allowed.
pub type Attempts = usize;

pub use End::{Cancelled, Failed, Finished};
pub use Fault::*;
use Kind::Upstream as Bad;
pub use Phase::*;

/// The message of an upstream that is still loading the model.
const COLD: &str = "The model is not ready for inference";

/// The message of a refusal for an account without free units.
pub const PLAN: &str = "plan limit: 1";

#[rustfmt::skip]
pub const TABLE: &[Cell] = &[
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
    Cell(Headers,    Status(400, COLD), Failed(NotReady, "model_not_ready"),                 1),
    Cell(Headers,    Status(401, "who"), Failed(Misconfigured, "featherless_api_key_rejected"), 1),
    Cell(Headers,    Status(403, "no"), Failed(Forbidden, "forbidden"),                      1),
    Cell(Headers,    Status(404, "no such model"), Failed(NotFound, "model_not_found"),      1),
    Cell(Headers,    Status(429, "full"), Failed(Saturated, "upstream_rate_limited"),        4),
    Cell(Headers,    Status(429, PLAN), Failed(Saturated, "concurrency_limit_exceeded"),     1),
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

    // Nothing after the end can change the answer.
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

impl Cell {
    /// Whether this system can produce the fault. A connection that is neither accepted nor refused
    /// needs Linux.
    pub fn can_be_made(&self) -> bool {
        cfg!(target_os = "linux")
            || !(self.0 == Connect && matches!(self.1, Silence | Deadline | CallerLeaves))
    }

    /// Whether a fallback may answer. It may not after a refusal or after the caller's deadline.
    pub fn allows_fallback(&self) -> bool {
        let Cell(_, fault, end, _) = self;
        let is_refusal = match fault {
            Status(400, what) => *what == "bad",
            Status(401 | 403 | 404, _) | Deadline | TalksOn => true,
            _ => false,
        };
        matches!(end, Failed(..)) && !is_refusal
    }
}
