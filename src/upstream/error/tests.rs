//! What replies and events mean, by their status and their words.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    reply::{RETRY_AFTER_MAX, RETRY_AFTER_MS, retry_after},
    *,
};
use crate::error::{Error, Kind};

fn error(status: u16, body: &str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    ErrorReply {
        status,
        headers: &HeaderMap::new(),
        body: body.as_bytes(),
        model: Some("org/model"),
    }
    .into()
}

/// As upstreams, frameworks and front ends write one refusal.
const BODIES: [&str; 10] = [
    r#"{"detail":"boo"}"#,
    r#"{"detail":[{"loc":["body","x",0],"msg":"boo","type":"t"}]}"#,
    "boo",
    "",
    r#"{"errors":["boo"]}"#,
    r#"{"error":"boo"}"#,
    r#"{"error":{"message":"boo"}}"#,
    r#"{"statusCode":400,"message":["boo","a"],"error":"Bad Request"}"#,
    r#"{"type":"about:blank","title":"t","detail":"boo","status":400}"#,
    "<html><h1>Bad request</h1></html>",
];

#[test]
fn the_status_decides_the_kind_whatever_the_body_and_its_words_are_quoted() {
    for status in 400..=599 {
        let (kind, code) = match status {
            401 => (Kind::Misconfigured, "featherless_api_key_rejected"),
            402 => (Kind::Forbidden, "payment_required"),
            403 | 451 => (Kind::Forbidden, "forbidden"),
            404 | 407 | 511 => (Kind::Upstream, "upstream_bad_answer"),
            408 | 504 | 522 | 524 | 598 | 599 => (Kind::Timeout, "upstream_timeout"),
            413 | 414 => (Kind::TooLarge, "request_too_large"),
            // What kind of refusal it is, its words tell.
            429 => continue,
            499 => (Kind::Upstream, "upstream_error"),
            503 | 529 => (Kind::Unavailable, "no_capacity"),
            500.. => (Kind::Upstream, "upstream_error"),
            _ => (Kind::Invalid, "upstream_refused"),
        };
        for body in BODIES {
            let error = error(status, body);
            assert_eq!(
                (error.kind(), error.code()),
                (kind, code),
                "{status} {body}"
            );
            let is_quoted = body.contains("boo") && !matches!(status, 401 | 407 | 511);
            assert_eq!(
                error.message().contains("boo"),
                is_quoted,
                "{status} {body}: {error}"
            );
            assert!(!error.message().contains('<'), "{status}: {error}");
            let is_about_url = error.message().contains("FEATHERLESS_BASE_URL");
            assert_eq!(is_about_url, status == 404, "{status} {body}: {error}");
            let param = (kind == Kind::Invalid && body.contains("loc")).then_some("x[0]");
            assert_eq!(error.param(), param, "{status} {body}");
        }
    }
}

#[test]
fn a_missing_model_is_told_from_a_missing_path_by_the_words() {
    for (body, code) in [
        (
            r#"{"detail":"The model `x` does not exist."}"#,
            "model_not_found",
        ),
        ("Unknown model x", "model_not_found"),
        (r#"{"error":{"code":"ModelNotFound"}}"#, "model_not_found"),
        (r#"{"detail":"Not Found"}"#, "upstream_bad_answer"),
        ("404 page not found", "upstream_bad_answer"),
        (
            "<html><title>Model zoo</title></html>",
            "upstream_bad_answer",
        ),
    ] {
        assert_eq!(error(404, body).code(), code, "{body}");
    }
    assert_eq!(
        error(410, r#"{"detail":"This model is retired"}"#).kind(),
        Kind::NotFound
    );
}

#[test]
fn an_upstreams_code_is_ours_only_if_it_is_a_word() {
    let code = |code: &str| {
        error(
            400,
            &format!(r#"{{"error":{{"message":"m","code":{code}}}}}"#),
        )
        .code()
        .to_owned()
    };
    assert_eq!(code(r#""invalid_image_url""#), "invalid_image_url");
    assert_eq!(code(r#""InvalidImageUrl""#), "invalid_image_url");
    let long = format!("\"{}\"", "c".repeat(64));
    for odd in [
        "400",
        r#""400""#,
        "null",
        r#""""#,
        r#""Bad request!""#,
        "{}",
        &long,
    ] {
        assert_eq!(code(odd), "upstream_refused", "{odd}");
    }
}

#[test]
fn an_error_in_a_success_means_what_it_says() {
    for (event, kind) in [
        (r#"{"error":{"message":"boo","code":429}}"#, Kind::Saturated),
        (
            r#"{"error":{"message":"boo","code":"429"}}"#,
            Kind::Saturated,
        ),
        (
            r#"{"error":{"message":"boo","type":"rate_limit_error"}}"#,
            Kind::Saturated,
        ),
        (
            r#"{"error":{"message":"boo","code":429,"type":"server_error"},"choices":[{"index":0}]}"#,
            Kind::Saturated,
        ),
        (r#"{"message":"boo","statusCode":429}"#, Kind::Saturated),
        (
            r#"{"type":"error","error":{"message":"boo","type":"overloaded_error"}}"#,
            Kind::Unavailable,
        ),
        (
            r#"{"error":{"message":"boo","code":529}}"#,
            Kind::Unavailable,
        ),
        (
            r#"{"error":{"message":"boo","type":"authentication_error"}}"#,
            Kind::Misconfigured,
        ),
        (
            r#"{"error":{"message":"boo","type":"permission_error"}}"#,
            Kind::Forbidden,
        ),
        (
            r#"{"error":{"message":"boo","type":"not_found_error"}}"#,
            Kind::NotFound,
        ),
        (
            r#"{"object":"error","message":"boo","type":"NotFoundError","code":404}"#,
            Kind::NotFound,
        ),
        (
            r#"{"error":{"message":"no such model: boo","type":"not_found_error"}}"#,
            Kind::NotFound,
        ),
        (
            r#"{"error":{"message":"boo","type":"request_too_large"}}"#,
            Kind::TooLarge,
        ),
        (
            r#"{"error":{"message":"boo","type":"timeout_error"}}"#,
            Kind::Timeout,
        ),
        (r#"{"error":{"message":"boo","code":"400"}}"#, Kind::Invalid),
        (
            r#"{"object":"error","message":"boo","type":"BadRequestError","code":400}"#,
            Kind::Invalid,
        ),
        (
            r#"{"detail":[{"loc":["body","n"],"msg":"boo","type":"t"}]}"#,
            Kind::Invalid,
        ),
        (r#"{"error":{"message":"boo","code":502}}"#, Kind::Upstream),
        (r#"{"error":{"message":"boo","code":1305}}"#, Kind::Upstream),
        (
            r#"{"error":{"message":"boo","type":"api_error"}}"#,
            Kind::Upstream,
        ),
        (r#"{"error":"boo"}"#, Kind::Upstream),
        (r#"{"error":"boo","choices":[{"index":0}]}"#, Kind::Upstream),
        (r#"{"detail":"boo"}"#, Kind::Upstream),
        (r#"{"message":"boo"}"#, Kind::Upstream),
    ] {
        let error = from_event(event.as_bytes(), None).unwrap();
        assert_eq!(error.kind(), kind, "{event}");
        assert!(
            error.message().contains("boo")
                || kind == Kind::Misconfigured
                || event.contains("model"),
            "{error}"
        );
        assert!(
            !error.message().contains("FEATHERLESS_BASE_URL"),
            "{event}: {error}"
        );
        assert!(
            kind != Kind::Upstream || error.code() == "upstream_stream_failed",
            "{event}"
        );
    }
    assert!(from_event(br#"{"error":{"message":"","code":0},"choices":[]}"#, None).is_none());
    for data in [
        "boo",
        r#""boo""#,
        r#"["boo"]"#,
        r#"{"type":"x","text":1}"#,
        "",
        "<html>",
    ] {
        let error = from_error_event(data.as_bytes(), None);
        assert_eq!(error.code(), "upstream_stream_failed", "{data}");
        assert_eq!(
            error.message().contains("boo"),
            data.contains("boo"),
            "{error}"
        );
    }
}

#[test]
fn the_numbers_of_a_unit_refusal_are_read_behind_what_is_quoted_too() {
    let long = format!(r#"{{"detail":"{} (plan limit: 4)"}}"#, "x".repeat(2000));
    let error = error(429, &long);
    assert_eq!(error.unit_refusal().unwrap().limit, Some(4));
    assert!(
        !error.message().contains("plan limit"),
        "the quote has a bound"
    );
}

#[test]
fn both_forms_of_retry_after_are_read() {
    let wait = |value: &str| {
        retry_after(&HeaderMap::from_iter([(
            header::RETRY_AFTER,
            value.parse().unwrap(),
        )]))
    };
    assert_eq!(wait("7"), Some(Duration::from_secs(7)));
    assert_eq!(wait("99999999"), Some(RETRY_AFTER_MAX));
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    assert!((28..=30).contains(&wait(&date).unwrap().as_secs()));
    assert_eq!(
        wait("Sun, 06 Nov 1994 08:49:37 GMT"),
        Some(Duration::ZERO),
        "it is over"
    );
    assert_eq!(wait("1.5"), Some(Duration::from_millis(1500)));
    for nothing in ["soon", "-1", "NaN", "inf", ""] {
        assert_eq!(wait(nothing), None, "{nothing}");
    }
    assert_eq!(wait("1e300"), Some(RETRY_AFTER_MAX));
}

#[test]
fn the_finer_of_two_waits_counts_if_it_can_be_read() {
    let wait = |milliseconds: &str, seconds: &str| {
        let finer = (RETRY_AFTER_MS, milliseconds.parse().unwrap());
        retry_after(&HeaderMap::from_iter([
            finer,
            (header::RETRY_AFTER, seconds.parse().unwrap()),
        ]))
    };
    assert_eq!(wait("1250", "2"), Some(Duration::from_millis(1250)));
    assert_eq!(wait(" 0.5 ", "2"), Some(Duration::from_micros(500)));
    assert_eq!(wait("0", "2"), Some(Duration::ZERO));
    assert_eq!(wait("99999999999", "2"), Some(RETRY_AFTER_MAX));
    for unreadable in ["soon", "-1", "NaN", "inf", ""] {
        assert_eq!(
            wait(unreadable, "2"),
            Some(Duration::from_secs(2)),
            "{unreadable}"
        );
    }
    let alone = HeaderMap::from_iter([(RETRY_AFTER_MS, HeaderValue::from_static("1250"))]);
    assert_eq!(retry_after(&alone), Some(Duration::from_millis(1250)));
}
