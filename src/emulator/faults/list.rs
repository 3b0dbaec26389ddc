//! The table of faults, in the groups that the help text shows.

use super::super::connection::Disconnect;
use super::super::reasoning::ReasoningFormat;
use super::breaks::Break::{self, BrokenJson, Eof, Error, Page, Stall};
use super::edits::{Edit as E, NoError};
use super::error_bodies::Shape;
use super::framing::Framing;
use super::kind::FaultKind;
use super::replacements::{Refused, UnitsWording, WrongBody};
use super::stream_errors::StreamError;

/// A model that answers with a fault.
#[derive(Debug)]
pub struct Fault {
    /// The model id.
    pub model: &'static str,
    /// The effect, in one line.
    pub effect: &'static str,
    /// The group in the help text.
    pub group: Group,
    pub(super) kind: FaultKind,
}

/// A group of faults, in the order of the help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// An error in Featherless's wording.
    Refusals,
    /// An error status with any body.
    Statuses,
    /// No answer, or a response that is not an answer.
    NoAnswer,
    /// The answer breaks off.
    Breaks,
    /// An error inside an answer.
    Errors,
    /// Unusual finish reasons.
    Ends,
    /// An answer in unusual framing.
    Bytes,
    /// An answer in unusual JSON.
    Json,
    /// Answers with reasoning, and slow answers.
    Reasoning,
}

impl Group {
    /// The headline of the group, with the suffixes that its ids can have.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Refusals => "Errors in Featherless's wording",
            Self::Statuses => "STATUS-SHAPE: any status from 400 to 599, in any of these shapes",
            Self::NoAnswer => "No answer, or a response that is not an answer",
            Self::Breaks => {
                "Answers that break off (-after-N: after N tokens; 0: before the first)"
            }
            Self::Errors => {
                "Errors inside an answer that began with 200 (-after-N: after N tokens)"
            }
            Self::Ends => "finish-WORD: the answer ends with any finish_reason",
            Self::Bytes => "Answers in unusual framing",
            Self::Json => "Answers in unusual JSON",
            Self::Reasoning => "Answers with reasoning, and slow answers",
        }
    }
}

const fn fault(group: Group, model: &'static str, kind: FaultKind, effect: &'static str) -> Fault {
    Fault {
        model,
        effect,
        group,
        kind,
    }
}

const fn refused(model: &'static str, refused: Refused, effect: &'static str) -> Fault {
    fault(Group::Refusals, model, FaultKind::Refused(refused), effect)
}

const fn status(model: &'static str, status: u16, shape: Shape, effect: &'static str) -> Fault {
    fault(
        Group::Statuses,
        model,
        FaultKind::Status(status, shape),
        effect,
    )
}

const fn no_answer(model: &'static str, kind: FaultKind, effect: &'static str) -> Fault {
    fault(Group::NoAnswer, model, kind, effect)
}

const fn breaks(
    model: &'static str,
    kind: Break,
    default_tokens: usize,
    effect: &'static str,
) -> Fault {
    fault(
        Group::Breaks,
        model,
        FaultKind::Break(kind, default_tokens),
        effect,
    )
}

const fn error(model: &'static str, kind: StreamError, effect: &'static str) -> Fault {
    fault(
        Group::Errors,
        model,
        FaultKind::Break(Error(kind), 3),
        effect,
    )
}

const fn bytes(model: &'static str, framing: Framing, effect: &'static str) -> Fault {
    fault(Group::Bytes, model, FaultKind::Framing(framing), effect)
}

const fn json(model: &'static str, edit: E, effect: &'static str) -> Fault {
    fault(Group::Json, model, FaultKind::Edit(edit), effect)
}

const fn reasoning(model: &'static str, format: ReasoningFormat, effect: &'static str) -> Fault {
    fault(Group::Reasoning, model, FaultKind::Reason(format), effect)
}

/// Every fault. Each can be requested by its id, but the list of models does not contain it.
#[rustfmt::skip]
pub const FAULTS: &[Fault] = &[
    refused("emulator/cold", Refused::Cold, "400: the model is not ready for inference"),
    refused("emulator/gated", Refused::Gated, "403: the licence of a gated model is not accepted"),
    refused("emulator/no-plan-access", Refused::NoPlanAccess, "403: the plan has no API access"),
    refused("emulator/not-on-plan", Refused::NotOnPlan, "403: the model is not on the plan"),
    refused("emulator/401", Refused::Unauthorized, "401: the key is refused"),
    refused("emulator/429", Refused::Units(UnitsWording::Numbers),
        "429: no units are free, with Retry-After: 2"),
    refused("emulator/429-plan-limit", Refused::Units(UnitsWording::PlanLimit),
        "429: no units are free, in the wording \"plan limit: 8\""),
    refused("emulator/429-no-numbers", Refused::Units(UnitsWording::Plain),
        "429: no units are free, without numbers"),
    refused("emulator/429-rate-limit", Refused::RateLimit,
        "429 of a request rate limit, with another code"),
    refused("emulator/500", Refused::Internal, "500, always"),
    refused("emulator/503", Refused::NoExecutor, "503 No valid Executor, always"),
    refused("emulator/503-then-ok", Refused::NoExecutor,
        "503 at the first attempt, an answer at the second"),
    refused("emulator/500-then-ok", Refused::Internal,
        "500 at the first attempt, an answer at the second"),

    status("emulator/400-openai", 400, Shape::OpenAi, "{\"error\": {\"message\": …}}"),
    status("emulator/bare-error", 500, Shape::Bare, "500 with an error that is a plain string"),
    status("emulator/402-bare", 402, Shape::Bare, "{\"error\": \"…\"}"),
    status("emulator/400-detail", 400, Shape::Detail, "{\"detail\": \"…\"}"),
    status("emulator/422-detail-list", 422, Shape::DetailList,
        "{\"detail\": [{\"loc\", \"msg\", \"type\"}]}, as in FastAPI"),
    status("emulator/400-errors", 400, Shape::Errors, "{\"errors\": [\"…\"]}"),
    status("emulator/400-nest", 400, Shape::Nest, "{\"message\": [\"…\", \"…\"]}, as in NestJS"),
    status("emulator/400-unwrapped", 400, Shape::Unwrapped,
        "{\"object\": \"error\", \"message\": …}, as in vLLM"),
    status("emulator/409-text", 409, Shape::Text, "plain text"),
    status("emulator/405-empty", 405, Shape::Empty, "no body"),
    status("emulator/502-html", 502, Shape::Html, "the HTML page of a content delivery network"),
    status("emulator/524-html", 524, Shape::Html,
        "the same page with another status; -after-90s: after 90 s"),
    status("emulator/429-html", 429, Shape::Html,
        "the rate limit of a proxy; -retry-after-5: with that header"),
    status("emulator/504-empty", 504, Shape::Empty, "a timeout without a body"),

    no_answer("emulator/slow-headers", FaultKind::NoHead,
        "no headers and no answer; -for-5s: headers after 5 s"),
    no_answer("emulator/close-before-head", FaultKind::Disconnect(Disconnect::Close),
        "the connection is closed (FIN)"),
    no_answer("emulator/reset-before-head", FaultKind::Disconnect(Disconnect::Reset),
        "the connection is reset (RST)"),
    no_answer("emulator/redirect", FaultKind::Redirect, "302 to another host"),
    no_answer("emulator/html-200", FaultKind::WrongBody(WrongBody::Page), "200 with an HTML page"),
    no_answer("emulator/not-json", FaultKind::WrongBody(WrongBody::Text),
        "200 with a body that is not JSON"),
    no_answer("emulator/empty-body", FaultKind::WrongBody(WrongBody::Nothing), "200 with no body"),
    no_answer("emulator/empty-object", FaultKind::WrongBody(WrongBody::EmptyObject),
        "200 with {}, at every endpoint that takes a model"),
    no_answer("emulator/null-body", FaultKind::WrongBody(WrongBody::Null), "200 with null"),
    no_answer("emulator/list-body", FaultKind::WrongBody(WrongBody::List), "200 with []"),
    no_answer("emulator/no-choices", FaultKind::Edit(E::NoChoices), "an answer without choices"),
    no_answer("emulator/empty-choices", FaultKind::Edit(E::EmptyChoices),
        "an answer with choices: []"),

    breaks("emulator/silent", Stall, 0, "headers, then silence; -for-5s: for 5 s"),
    breaks("emulator/stall-after-5", Stall, 5,
        "5 tokens, then silence on an open connection; -for-5s: for 5 s"),
    breaks("emulator/cut-after-5", Break::Disconnect(Disconnect::Close), 5,
        "5 tokens, then the connection is closed (FIN)"),
    breaks("emulator/reset-after-5", Break::Disconnect(Disconnect::Reset), 5,
        "5 tokens, then the connection is reset (RST)"),
    breaks("emulator/eof-after-5", Eof, 5,
        "5 tokens, then a clean end without finish_reason or [DONE]"),
    breaks("emulator/empty-stream", Eof, 0, "headers, then a clean end"),
    breaks("emulator/broken-json", BrokenJson, 3,
        "3 tokens, then half an event (unary: half an answer)"),
    breaks("emulator/html-in-stream", Page, 3, "3 tokens, then a web page"),

    error("emulator/error-in-stream", StreamError::Bare,
        "3 tokens, then an error that is a plain string"),
    error("emulator/error-object-in-stream", StreamError::Object, "3 tokens, then an error object"),
    error("emulator/429-in-stream", StreamError::Units, "3 tokens, then the error object of a 429"),
    error("emulator/rate-limit-in-stream", StreamError::RateLimit,
        "3 tokens, then a rate_limit_error whose code is \"429\""),
    error("emulator/unwrapped-in-stream", StreamError::Unwrapped,
        "3 tokens, then {\"object\": \"error\", …}, then [DONE]"),
    error("emulator/detail-in-stream", StreamError::Detail,
        "3 tokens, then {\"detail\": …}, then [DONE]"),
    error("emulator/event-error-in-stream", StreamError::Named,
        "3 tokens, then \"event: error\", then [DONE]"),
    error("emulator/text-in-stream", StreamError::PlainText,
        "3 tokens, then plain text as data, then [DONE]"),
    error("emulator/error-beside-choices", StreamError::BesideChoices,
        "an error beside the choices; the answer continues"),

    fault(Group::Ends, "emulator/finish-abort", FaultKind::Finish,
        "the engine gave up, and [DONE] follows"),
    fault(Group::Ends, "emulator/finish-error", FaultKind::Finish,
        "the engine failed, and [DONE] follows"),
    fault(Group::Ends, "emulator/finish-abort-with-error", FaultKind::FinishWithError,
        "the same as finish-abort, with an error in the choice"),
    fault(Group::Ends, "emulator/finish-eos_token", FaultKind::Finish,
        "an engine's own word for a normal end"),
    fault(Group::Ends, "emulator/later-empty-finish", FaultKind::Edit(E::LaterEmptyFinish),
        "a finish_reason, and later an empty finish_reason"),

    bytes("emulator/no-done", Framing::NoDone, "a complete answer without [DONE]"),
    bytes("emulator/giant-line", Framing::GiantLine, "all text in one event of 2 MB"),
    bytes("emulator/crlf", Framing::Crlf, "CRLF line ends, comments, no space after data:"),
    bytes("emulator/split", Framing::Split, "every byte in its own segment"),
    bytes("emulator/burst", Framing::Burst, "all events in one write"),
    bytes("emulator/gzip", Framing::Gzip, "gzip, although the request does not accept it"),

    json("emulator/odd", E::Odd, "unknown members at every level, extreme numbers, empty choices"),
    json("emulator/null-logprob", E::NullLogprob, "logprob: null (with logprobs)"),
    json("emulator/usage-in-part", E::UsageInPart, "usage with completion_tokens only"),
    json("emulator/no-role", E::NoRole, "no role"),
    json("emulator/null-role", E::NullRole, "role: null"),
    json("emulator/no-delta", E::NoDelta, "no delta where it is empty"),
    json("emulator/null-delta", E::NullDelta, "delta: null where it is empty"),
    json("emulator/no-content", E::NoContent, "no content where it is empty"),
    json("emulator/null-content", E::NullContent, "content: null where it is empty"),
    json("emulator/same-index-calls", E::SameIndexCalls,
        "parallel tool calls with one index and different ids"),
    json("emulator/calls-by-id", E::CallsById,
        "tool calls without index, with their id in every piece"),
    json("emulator/object-arguments", E::ObjectArguments, "arguments as an object (unary)"),
    json("emulator/number-ids", E::NumberIds, "ids that are numbers"),
    json("emulator/text-indexes", E::TextIndexes, "the indexes of choices as text: \"0\""),
    json("emulator/odd-delta", E::OddDelta, "a delta whose content is [\"odd\"]"),
    json("emulator/half-emoji", E::HalfEmoji, "the two halves of an emoji in two deltas"),
    json("emulator/lone-surrogate", E::LoneSurrogate, "half an emoji at the end of the text"),
    json("emulator/surrogate-name", E::SurrogateName, "half an emoji in the name of a member"),
    json("emulator/other-object", E::OtherObject, "object: \"engine.answer\""),
    json("emulator/error-null", E::NoError(NoError::Null),
        "error: null in every event (no error)"),
    json("emulator/error-false", E::NoError(NoError::False),
        "error: false in every event (no error)"),
    json("emulator/error-empty", E::NoError(NoError::Text),
        "error: \"\" in every event (no error)"),
    json("emulator/error-object", E::NoError(NoError::Object),
        "error: {} in every event (no error)"),

    reasoning("emulator/think", ReasoningFormat::Member("reasoning_content"),
        "reasoning_content before the content"),
    reasoning("emulator/think-reasoning", ReasoningFormat::Member("reasoning"),
        "the same in the member reasoning"),
    reasoning("emulator/think-object", ReasoningFormat::Object, "reasoning as an object"),
    reasoning("emulator/think-inline", ReasoningFormat::Inline, "<think>…</think> in the content"),
    reasoning("emulator/think-open", ReasoningFormat::Open,
        "<think> in the content, without </think>"),
    fault(Group::Reasoning, "emulator/slow-first-token", FaultKind::SlowFirstToken,
        "headers, the first token after 3 s; -for-9s: after 9 s"),
    fault(Group::Reasoning, "emulator/slow", FaultKind::Slow, "5 tokens per second"),
];
