//! Requests of Connect as requests of gRPC.

use axum::{BoxError, body::Body, extract::Request};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, header, request::Parts};
use http_body_util::{BodyExt, Full};
use prost_reflect::MessageDescriptor;

use super::{
    bare_body::{BareBody, frame},
    error::Refusal,
    form::{Codec, Form},
    json,
    json_body::JsonBody,
    query::Query,
};
use crate::{
    coding::{Accepted, Coding},
    error::{Error, ErrorCode, Result},
    grpc::{compression::encoding, content_type, methods::Method, request::MessageChecks},
    service::Door,
};

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
pub(super) const STREAM_CODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const STREAM_ACCEPTED: HeaderName = HeaderName::from_static("connect-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The method whose answers are numbers.
const EMBEDDING: &str = "/featherwire.v1.EmbeddingService/CreateEmbedding";

/// The codings of requests that the gateway accepts.
const CODINGS: &str = "gzip, deflate, zstd";

/// The longest timeout, in digits.
const TIMEOUT_DIGITS_MAX: usize = 10;

/// The longest name of a coding that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// How the answer to a request is written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) form: Form,
    /// The type of the messages, if they are converted to JSON.
    pub(super) message: Option<MessageDescriptor>,
    /// The codings that the caller accepts. None for what becomes hardly smaller.
    pub(super) accepted: Accepted,
    /// Whether it may be in a cache: no cache keeps the answer to a `POST`.
    pub(super) is_get: bool,
}

/// The request of gRPC, and how its answer is written.
///
/// # Errors
/// The refusal of a request that is not Connect, or not to a method that Connect has.
pub(super) fn translate(
    checks: &MessageChecks,
    request: Request,
) -> Result<(Request, Answer), Box<Refusal>> {
    let (mut head, body) = request.into_parts();
    let form = Form::in_header(&head.headers, &header::CONTENT_TYPE);
    let path = head.uri.path();
    let method = match checks.methods().find(path) {
        Ok(method) => method,
        Err(error) => return Err(Box::new(Refusal::not_found(error, form))),
    };
    let read = read(method, &head, body, form)?;
    let form = read.form;
    let refused = |error| Box::new(Refusal::new(error, Some(form)));
    let message = match form.codec {
        Codec::Proto => None,
        Codec::Json => Some(json::method(path).map_err(refused)?),
    };
    check_version(&head.headers).map_err(refused)?;
    let timeout = timeout(&head.headers).map_err(refused)?;
    let answer = Answer {
        form,
        message: message.map(|method| method.output()),
        accepted: match form.codec {
            // Binary embeddings become only 5 to 8 % smaller.
            Codec::Proto if path == EMBEDDING => Accepted::default(),
            _ => accepted(&head.headers, form, read.coding),
        },
        is_get: head.method == Verb::GET,
    };
    let rules = checks.rules_of_one(read.coding);
    let share = || checks.share();
    let body = match read.message {
        Message::Enveloped(body) => body,
        Message::Bare(body) => Body::new(BareBody::new(body, rules, share())),
    };
    let (body, coding) = match message {
        None => (body, read.coding),
        Some(method) => {
            let checked = checks.checked(rules, body.map_err(BoxError::from));
            let body = JsonBody::new(checked, method.input(), share());
            (Body::new(body), None)
        }
    };
    rewrite(&mut head, coding, timeout);
    Ok((Request::from_parts(head, body), answer))
}

/// What a request says before its message is read.
struct Read {
    form: Form,
    coding: Option<Coding>,
    message: Message,
}

/// Where the message is.
enum Message {
    /// With five bytes before it.
    Enveloped(Body),
    /// Alone.
    Bare(Body),
}

fn read(
    method: Method,
    head: &Parts,
    body: Body,
    form: Option<Form>,
) -> Result<Read, Box<Refusal>> {
    let path = head.uri.path();
    let is_readable = !method.is_stream && !method.takes_stream && !method.has_side_effects;
    if head.method == Verb::GET && is_readable {
        return read_query(head);
    }
    if head.method != Verb::POST {
        let (allowed, advice) = match is_readable {
            true => ("GET, POST", "call it with GET or POST"),
            false => ("POST", "call it with POST"),
        };
        let message = format!("{path} does not support {}: {advice}", head.method);
        let error = Error::new(ErrorCode::MethodNotAllowed, message);
        return Err(Box::new(Refusal::wrong_method(error, allowed)));
    }
    // Tools read the contract by reflection, in binary.
    if let Some(form) = form
        && form.codec == Codec::Json
        && method.takes_stream
    {
        let message = format!(
            "{path} takes a stream of messages, which the gateway has only in binary: call it with \
             application/connect+proto or by gRPC"
        );
        let error = Error::new(ErrorCode::NotGrpc, message);
        return Err(Box::new(Refusal::new(error, Some(form))));
    }
    let Some(form) = form.filter(|form| form.is_stream == method.is_stream) else {
        return Err(Box::new(wrong_media_type(path, method)));
    };
    let name = match form.is_stream {
        true => STREAM_CODING,
        false => header::CONTENT_ENCODING,
    };
    let value = head.headers.get(&name).map(HeaderValue::as_bytes);
    let coding = coding(name.as_str(), value, form)?;
    let message = match form.is_stream {
        true => Message::Enveloped(body),
        false => Message::Bare(body),
    };
    Ok(Read {
        form,
        coding,
        message,
    })
}

fn read_query(head: &Parts) -> Result<Read, Box<Refusal>> {
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let encoding = query.encoding.as_deref().unwrap_or_default();
    let codec = match encoding {
        "proto" => Codec::Proto,
        "json" => Codec::Json,
        _ => {
            let message = "Expected encoding=json or encoding=proto in the query, as in \
                           connect=v1&encoding=json&message={}";
            let error = Error::new(ErrorCode::UnsupportedMediaType, message);
            return Err(Box::new(Refusal::wrong_media_type(error, false)));
        }
    };
    let form = Form {
        codec,
        is_stream: false,
    };
    let value = query.compression.as_deref().map(str::as_bytes);
    let coding = coding("compression", value, form)?;
    let message = query
        .message()
        .map_err(|error| Box::new(Refusal::new(error, Some(form))))?;
    let frame = frame(&message, coding.is_some());
    Ok(Read {
        form,
        coding,
        message: Message::Enveloped(Body::new(Full::new(frame))),
    })
}

fn wrong_media_type(path: &str, method: Method) -> Refusal {
    let expected = match method.is_stream {
        true => {
            "it answers with a stream, so call it with application/connect+json or \
                 application/connect+proto (Connect), by gRPC or gRPC-Web"
        }
        false => {
            "call it with application/json or application/proto (Connect), by gRPC or \
                  gRPC-Web"
        }
    };
    let rest = content_type::rest_path(path);
    let message = format!("{path}: {expected}. For OpenAI's JSON there is {rest}");
    let error = Error::new(ErrorCode::UnsupportedMediaType, message);
    Refusal::wrong_media_type(error, method.is_stream)
}

/// The coding that the header or parameter `name` gives. `None` without one.
///
/// # Errors
/// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod), which is Connect's `unimplemented`, for
/// a coding that the gateway does not accept.
fn coding(name: &str, value: Option<&[u8]>, form: Form) -> Result<Option<Coding>, Box<Refusal>> {
    let coding = String::from_utf8_lossy(value.unwrap_or_default());
    if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Coding::named(&coding).map(Some).ok_or_else(|| {
        let coding: String = coding.chars().take(QUOTED_CHARS_MAX).collect();
        let message = format!("{name}: \"{coding}\" is not supported: send {CODINGS} or identity");
        let error = Error::new(ErrorCode::UnsupportedGrpcEncoding, message);
        let accepted = match form.is_stream {
            true => STREAM_ACCEPTED,
            false => header::ACCEPT_ENCODING,
        };
        Box::new(Refusal::new(error, Some(form)).with_header(accepted, CODINGS))
    })
}

/// What the caller accepts. Without the header it is the coding of the request.
fn accepted(headers: &HeaderMap, form: Form, coding: Option<Coding>) -> Accepted {
    let name = match form.is_stream {
        true => STREAM_ACCEPTED,
        false => header::ACCEPT_ENCODING,
    };
    match headers.contains_key(&name) {
        true => Accepted::of_connect(headers, &name),
        false => Accepted::only(coding),
    }
}

/// A request may leave the version out, so that people can write requests by hand.
fn check_version(headers: &HeaderMap) -> Result<()> {
    match headers.get(VERSION) {
        Some(version) if version != "1" => Err(Error::invalid(VERSION.as_str(), "expected 1")),
        _ => Ok(()),
    }
}

/// The timeout as gRPC writes it, with at most eight digits.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what is not a number of milliseconds.
fn timeout(headers: &HeaderMap) -> Result<Option<HeaderValue>> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let is_number = |text: &&str| {
        (1..=TIMEOUT_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let number = value.to_str().ok().filter(is_number);
    let milliseconds: u64 = number.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let problem =
            format!("expected milliseconds, a number of at most {TIMEOUT_DIGITS_MAX} digits");
        Error::invalid(TIMEOUT.as_str(), problem)
    })?;
    let timeout = match milliseconds {
        0..100_000_000 => format!("{milliseconds}m"),
        _ => format!("{}S", milliseconds.div_ceil(1000)),
    };
    HeaderValue::from_str(&timeout)
        .map(Some)
        .map_err(Error::internal)
}

/// Makes the head that of a request of gRPC.
fn rewrite(head: &mut Parts, coding: Option<Coding>, timeout: Option<HeaderValue>) {
    head.method = Verb::POST;
    head.extensions.insert(Door::Connect);
    let headers = &mut head.headers;
    for name in [
        VERSION,
        TIMEOUT,
        STREAM_CODING,
        STREAM_ACCEPTED,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
    ] {
        headers.remove(name);
    }
    let media_type = content_type::Form::Grpc.media_type();
    headers.insert(header::CONTENT_TYPE, media_type);
    encoding::set(headers, coding);
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_written_as_grpc_does() {
        let written = |value: &'static str| {
            let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(value))]);
            timeout(&headers).ok().flatten()
        };
        for (milliseconds, expected) in [
            ("0", "0m"),
            ("1", "1m"),
            ("99999999", "99999999m"),
            ("100000000", "100000S"),
            ("9999999999", "10000000S"),
        ] {
            assert_eq!(written(milliseconds).unwrap(), expected);
        }
        for bad in ["", "-1", "1.5", "1s", "+1", "12345678901"] {
            assert_eq!(written(bad), None, "{bad:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
    }
}
