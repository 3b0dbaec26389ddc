//! What can be done about replies: ask again, ask another model, and what they say about a model.

use http::{HeaderMap, StatusCode};

use super::ErrorReply;
use crate::error::{Error, Health, Retry};

/// The error of a reply with this status: as a page of a front end, with an error of the API,
/// and without a body.
fn replies(status: u16) -> [Error; 3] {
    let page = "<html><h1>Bad gateway</h1></html>";
    [
        page,
        r#"{"error":{"message":"boom","type":"t","param":null,"code":null}}"#,
        "",
    ]
    .map(|body| {
        let status = StatusCode::from_u16(status).unwrap();
        ErrorReply {
            status,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            model: None,
        }
        .into()
    })
}

#[test]
fn every_breakdown_of_the_upstream_allows_a_fallback_and_counts_against_the_model() {
    for status in (500..=599).chain([408, 499]) {
        for error in replies(status) {
            assert!(error.allows_fallback(), "{status} {error:?}");
            assert_eq!(error.health(), Health::Down, "{status} {error:?}");
        }
    }
    for error in replies(429) {
        assert!(error.allows_fallback(), "{error:?}");
        assert_eq!(
            error.health(),
            Health::Unknown,
            "a lack of units says nothing about the model"
        );
    }
}

#[test]
fn only_what_no_model_has_worked_on_is_asked_again() {
    for status in [502, 503, 520, 521, 522, 523, 525, 526, 527, 529, 530] {
        assert!(
            replies(status)
                .iter()
                .all(|error| error.retry() == Retry::Yes),
            "{status}"
        );
    }
    assert!(
        replies(500)
            .iter()
            .all(|error| error.retry() == Retry::Once)
    );
    for status in [
        400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 501, 504, 505, 524, 599,
    ] {
        assert!(
            replies(status)
                .iter()
                .all(|error| error.retry() == Retry::Never),
            "{status}"
        );
    }
}

#[test]
fn no_model_is_a_way_around_a_status_of_refusal_or_a_wrong_address() {
    for status in [300, 302, 308, 401, 402] {
        for error in replies(status) {
            assert!(!error.allows_fallback(), "{status} {error:?}");
            assert_eq!(error.health(), Health::Unknown, "{status} {error:?}");
        }
    }
    let [page, path, empty] = replies(404);
    assert!(![page, path, empty].iter().any(Error::allows_fallback));
}
