//! What the client tells of its own accord: no answer came, or none that is one. What upstream's
//! replies mean is `error::upstream`'s to say.

use std::{io, time::Duration};

use hyper_util::client::legacy;

use super::{client::ANSWER_BYTES_MAX, connect::TooSlow, informational::HEADS_MAX};
use crate::{
    descriptors,
    error::{Error, ErrorCode},
    json,
};

/// An answer beyond all bounds.
pub fn too_large() -> Error {
    let message = format!("Featherless's answer is larger than {ANSWER_BYTES_MAX} bytes");
    Error::new(ErrorCode::UpstreamAnswerTooLarge, message)
}

/// An answer that isn't what its status and its media type promise.
pub(super) fn bad_answer(problem: &json::BadJson) -> Error {
    if problem.is_too_large {
        return unreadably_large("answer", problem);
    }
    Error::new(
        ErrorCode::UpstreamBadAnswer,
        format!("Featherless's answer is {}: try again", wrong(problem)),
    )
}

/// What is wrong with an answer, after `is`.
fn wrong(problem: &json::BadJson) -> String {
    let problem = problem.to_string();
    if problem.starts_with("not ") {
        problem
    } else {
        format!("not as it should be ({problem})")
    }
}

/// An event that is no piece of an answer.
pub(super) fn bad_event(problem: &json::BadJson) -> Error {
    if problem.is_too_large {
        return unreadably_large("event", problem);
    }
    let message = format!(
        "Featherless sent an event that is {}; the answer is not complete: try again",
        wrong(problem)
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

fn unreadably_large(what: &str, problem: &json::BadJson) -> Error {
    // What to do about it is meant for callers.
    let problem = problem.problem.split(';').next().unwrap_or_default();
    let message = format!("Featherless's {what} is larger than is read here: {problem}");
    Error::new(ErrorCode::UpstreamAnswerTooLarge, message)
}

/// There is no key to ask with.
pub(super) fn no_key() -> Error {
    Error::new(
        ErrorCode::FeatherlessApiKeyNotConfigured,
        "Featherless API key not configured: set FEATHERLESS_API_KEY in the gateway's environment \
         or .env, or start it with --emulator",
    )
    .with_help("https://featherless.ai/account/api-keys")
}

/// When to try again after descriptors have run out: each call that ends gives some back.
const DESCRIPTORS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The gateway has no file descriptor left for a connection.
fn out_of_descriptors() -> Error {
    descriptors::tell_log();
    let message = "The gateway itself is out of file descriptors, so it can't connect to \
                   Featherless: try again soon. Its operator can raise the limit (ulimit -n, or \
                   LimitNOFILE= of systemd)";
    Error::new(ErrorCode::OutOfFileDescriptors, message).with_retry_after(DESCRIPTORS_RETRY_AFTER)
}

/// Why there is no reply at all. Addresses stay out of it: they may hold a password.
pub(super) fn unreachable(error: legacy::Error) -> Error {
    if error.is_connect() && (is_any(&error, |_: &TooSlow| true) || is_any(&error, has_timed_out)) {
        let message = "No connection to Featherless within --connect-timeout: check the network \
                       and FEATHERLESS_BASE_URL";
        return Error::new(ErrorCode::ConnectTimeout, message).with_source(error);
    }
    if error.is_connect() {
        // Looking up a name fails without telling that this is why.
        if is_any(&error, descriptors::have_run_out) || descriptors::are_short() {
            return out_of_descriptors().with_source(error);
        }
        let message =
            "No connection to Featherless: check the network, proxies and FEATHERLESS_BASE_URL";
        return Error::new(ErrorCode::UpstreamUnreachable, message).with_source(error);
    }
    if is_any(&error, hyper::Error::is_parse_too_large) {
        let message =
            "Featherless's reply has a head that is larger than any of its API's: try again";
        return Error::new(ErrorCode::UpstreamBadAnswer, message).with_source(error);
    }
    if is_any(&error, hyper::Error::is_parse) {
        let message =
            "What the upstream answered is no HTTP reply: check FEATHERLESS_BASE_URL and proxies";
        return Error::new(ErrorCode::UpstreamBadAnswer, message).with_source(error);
    }
    let message = "Featherless closed the connection before it answered: try again";
    Error::new(ErrorCode::UpstreamClosed, message).with_source(error)
}

/// A reply that only announces itself, again and again.
pub(super) fn announced_without_end() -> Error {
    let message = format!(
        "Featherless announced an answer more than {HEADS_MAX} times (status 1xx) and gave none: \
         try again, or check what stands before FEATHERLESS_BASE_URL"
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

/// The connection broke in the middle of an answer that isn't streamed.
pub(super) fn cut(error: hyper::Error) -> Error {
    let message = "The connection to Featherless broke in the middle of the answer: try again";
    Error::new(ErrorCode::UpstreamAnswerCut, message).with_source(error)
}

fn has_timed_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

/// Whether one of an error's causes is of this type, and such a one.
fn is_any<E: std::error::Error + 'static>(
    error: &legacy::Error,
    is_it: impl Fn(&E) -> bool,
) -> bool {
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.any(|cause| cause.downcast_ref::<E>().is_some_and(&is_it))
}
