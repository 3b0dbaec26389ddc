//! What administrators are told about wrong times and words, and about a database that fails.

use http::Method;
use serde_json::json;

use super::keys::start;
use crate::{
    keys::text,
    support::{
        Database,
        program::{featherwire, run},
    },
};

#[tokio::test]
async fn a_wrong_time_or_word_is_told_the_forms_that_are_taken() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let refused = async |path: &str| {
        let path = format!("/admin/v1/{path}");
        let (status, answer) = admin.send(Method::GET, &path, None).await;
        assert_eq!(status, 400, "{path}: {answer}");
        text(&answer["error"], "message").to_owned()
    };
    for wrong in ["2026-11-30", "banana"] {
        assert_eq!(
            refused(&format!("usage?since={wrong}")).await,
            "since: expected a length of time such as 90s, 12h or 7d. For dates, set \
             startTime=2026-11-01T00:00:00Z, and endTime"
        );
        assert_eq!(
            refused(&format!("usage?startTime={wrong}T")).await,
            "startTime: expected a time such as 2026-11-01T00:00:00Z"
        );
    }
    for (path, words) in [
        (
            "usage?by=week",
            "by[0]: expected one of key, model, hour, day, account (or USAGE_GROUP_KEY, ",
        ),
        (
            "keys?state=activ",
            "state: expected one of active, disabled, expired, revoked (or KEY_STATE_ACTIVE, ",
        ),
        (
            "keys?role=boss",
            "role: expected one of inference, admin, viewer (or KEY_ROLE_INFERENCE, ",
        ),
    ] {
        let message = refused(path).await;
        assert!(message.starts_with(words), "{message}");
    }
    let body = json!({"name": "app", "expiresIn": "2030-01-01"}).to_string();
    let (_, answer) = admin.send(Method::POST, "/admin/v1/keys", Some(body)).await;
    assert_eq!(
        text(&answer["error"], "message"),
        "expiresIn: expected a length of time such as 90s, 12h or 7d. For a date, set expiresAt, \
         such as 2026-11-01T00:00:00Z"
    );
}

#[tokio::test]
async fn a_query_that_fails_says_nothing_of_changes_and_a_change_does() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let app = admin.ok("CreateKey", json!({"name": "app"})).await;
    let one = format!("/admin/v1/keys/{}", text(&app, "id"));
    database
        .execute(
            "ALTER TABLE featherwire_keys RENAME TO moved; \
             ALTER TABLE featherwire_usage RENAME TO moved_usage; \
             ALTER TABLE featherwire_audit RENAME TO moved_audit",
        )
        .await;
    let failed = async |verb: Method, path: &str, body: Option<&str>| {
        let (status, answer) = admin.send(verb, path, body.map(str::to_owned)).await;
        let error = &answer["error"];
        assert_eq!(
            (status, text(error, "code")),
            (503, "database_unavailable"),
            "{path}"
        );
        text(error, "message").to_owned()
    };
    let cause = "The gateway's database does not answer: its log has the cause.";
    for path in [
        "/admin/v1/keys",
        &one,
        "/admin/v1/audit",
        "/admin/v1/usage",
        "/v1/usage",
    ] {
        let message = failed(Method::GET, path, None).await;
        assert_eq!(message, format!("{cause} Try again when it answers"));
    }
    for (verb, path, body) in [
        (Method::POST, "/admin/v1/keys", Some(r#"{"name": "b"}"#)),
        (Method::PATCH, &one, Some(r#"{"owner": "Ada"}"#)),
        (Method::DELETE, &one, None),
    ] {
        let message = failed(verb, path, body).await;
        let advice = "The change may or may not have happened: look before you try again";
        assert_eq!(message, format!("{cause} {advice}"));
    }
    database
        .execute(
            "ALTER TABLE moved RENAME TO featherwire_keys; \
             ALTER TABLE moved_usage RENAME TO featherwire_usage; \
             ALTER TABLE moved_audit RENAME TO featherwire_audit",
        )
        .await;
    let list = admin.ok("ListKeys", json!({"name": "app"})).await;
    assert_eq!(list["keys"][0]["owner"], "", "nothing was changed: {list}");
}

#[tokio::test]
async fn a_command_fails_at_once_where_nothing_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for arguments in [
        &["keys", "list"][..],
        &["keys", "create", "--name", "a"],
        &["usage"],
    ] {
        let mut command = featherwire(arguments);
        let url = format!("postgres://user:secret@127.0.0.1:{port}/featherwire");
        command.env("FEATHERWIRE_DATABASE_URL", url);
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        // A pool would only say that it does not answer, after ten seconds.
        assert!(
            ended.err.contains("refused") && ended.err.contains("Check that it runs"),
            "{}",
            ended.err
        );
        assert!(!ended.err.contains("secret"));
    }
}
