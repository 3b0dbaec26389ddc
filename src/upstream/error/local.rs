//! Errors that the client itself detects: no reply came, or one that is not an answer.

use std::{io, time::Duration};

use crate::{
    descriptors,
    error::{Error, ErrorCode},
    json::JsonError,
    upstream::{
        connection::INFORMATIONAL_RESPONSES_MAX, connector::ConnectTimeout,
        limits::ANSWER_BYTES_MAX, pool::RequestError,
    },
};

/// When to try again after the descriptors have run out: each call that ends frees some.
const DESCRIPTORS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer is longer than [`ANSWER_BYTES_MAX`].
pub fn too_large() -> Error {
    let message = format!("Featherless's answer is larger than {ANSWER_BYTES_MAX} bytes");
    Error::new(ErrorCode::UpstreamAnswerTooLarge, message)
}

/// A unary answer is not the JSON that its status and its media type promise.
pub(in crate::upstream) fn bad_answer(problem: &JsonError) -> Error {
    if problem.is_too_large {
        return too_large_to_decode("answer", problem);
    }
    let message = format!(
        "Featherless's answer cannot be read ({}): try again",
        problem.without_advice()
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

/// An event of a stream is not a message.
pub(in crate::upstream) fn bad_event(problem: &JsonError) -> Error {
    if problem.is_too_large {
        return too_large_to_decode("event", problem);
    }
    let message = format!(
        "Featherless sent an event that cannot be read ({}); the answer is incomplete: try again",
        problem.without_advice()
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

fn too_large_to_decode(what: &str, problem: &JsonError) -> Error {
    let message = format!(
        "Featherless's {what} is larger than the gateway decodes: {}",
        problem.without_advice()
    );
    Error::new(ErrorCode::UpstreamAnswerTooLarge, message)
}

/// The gateway has no API key.
pub(in crate::upstream) fn no_key() -> Error {
    let message = "Featherless API key not configured: set FEATHERLESS_API_KEY in the gateway's \
                   environment or .env, or start it with --emulator";
    Error::new(ErrorCode::FeatherlessApiKeyNotConfigured, message)
        .with_help("https://featherless.ai/account/api-keys")
}

/// Why there is no reply. The message names no address, because an address may hold a password.
pub(in crate::upstream) fn unreachable(error: RequestError) -> Error {
    let is_timeout = || {
        has_cause(&error, |_: &ConnectTimeout| true)
            || has_cause(&error, |error: &io::Error| {
                error.kind() == io::ErrorKind::TimedOut
            })
    };
    let is_connect = matches!(error, RequestError::Connect(_));
    if is_connect && is_timeout() {
        let message = "No connection to Featherless within --connect-timeout: check the network \
                       and FEATHERLESS_BASE_URL";
        return Error::new(ErrorCode::ConnectTimeout, message).with_source(error);
    }
    if is_connect {
        // A failed look-up of a name does not say that descriptors were the cause.
        if has_cause(&error, descriptors::have_run_out) || descriptors::are_short() {
            return out_of_descriptors().with_source(error);
        }
        let message =
            "No connection to Featherless: check the network, proxies and FEATHERLESS_BASE_URL";
        return Error::new(ErrorCode::UpstreamUnreachable, message).with_source(error);
    }
    if matches!(error, RequestError::OnlyInformational) {
        return too_many_informational();
    }
    if has_cause(&error, hyper::Error::is_parse_too_large) {
        let message = "Featherless's reply has a larger head than any reply of its API: try again";
        return Error::new(ErrorCode::UpstreamBadAnswer, message).with_source(error);
    }
    if has_cause(&error, hyper::Error::is_parse) {
        let message =
            "The upstream did not answer with HTTP: check FEATHERLESS_BASE_URL and proxies";
        return Error::new(ErrorCode::UpstreamBadAnswer, message).with_source(error);
    }
    let message = "Featherless closed the connection before it answered: try again";
    Error::new(ErrorCode::UpstreamClosed, message).with_source(error)
}

/// The gateway has no file descriptor for a connection.
fn out_of_descriptors() -> Error {
    descriptors::log_shortage();
    let message = "The gateway itself is out of file descriptors, so it can't connect to \
                   Featherless: try again soon. Its operator can raise the limit (ulimit -n, or \
                   LimitNOFILE= of systemd)";
    Error::new(ErrorCode::OutOfFileDescriptors, message).with_retry_after(DESCRIPTORS_RETRY_AFTER)
}

/// Featherless sent informational responses without end, and no answer.
fn too_many_informational() -> Error {
    let message = format!(
        "Featherless sent more than {INFORMATIONAL_RESPONSES_MAX} informational responses (status \
         1xx) and no answer: try again, or check what stands before FEATHERLESS_BASE_URL"
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

/// The connection broke in the middle of a unary answer.
pub(in crate::upstream) fn answer_cut(error: hyper::Error) -> Error {
    let message = "The connection to Featherless broke in the middle of the answer: try again";
    Error::new(ErrorCode::UpstreamAnswerCut, message).with_source(error)
}

/// Whether a cause of `error` has the type `E` and fulfils `is_it`.
fn has_cause<E: std::error::Error + 'static>(
    error: &RequestError,
    is_it: impl Fn(&E) -> bool,
) -> bool {
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.any(|cause| cause.downcast_ref::<E>().is_some_and(&is_it))
}
