//! Methods, headers and errors of HTTP at the paths of the administration.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{doors::Admin, keys::start};
use crate::{
    keys::text,
    support::{
        Database, program,
        rest::{http, status_and_json},
    },
};

pub async fn send(admin: &Admin, verb: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let verb = verb.parse().unwrap();
    let mut request = http().request(verb, format!("{}{path}", admin.address));
    if let Some(key) = &admin.key {
        request = request.bearer_auth(key);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The status, the code and the message of an error.
fn error((status, answer): (u16, Value)) -> (u16, String, String) {
    let text = |name: &str| text(&answer["error"], name).to_owned();
    (status, text("code"), text("message"))
}

#[tokio::test]
async fn a_parameter_of_nothing_but_commas_is_refused_and_the_gateway_goes_on() {
    let (_child, address) = program::serve(&["--emulator"]).await;
    let open = Admin::new(&address, None);
    for path in ["/v1/usage", "/admin/v1/usage"] {
        let commas = format!("{path}?by={}", ",".repeat(60_000));
        let (status, answer) = open.send(Method::GET, &commas, None).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("by")));
        let message = text(&answer["error"], "message");
        assert!(message.contains("at most 16"), "{message}");
        let few = format!("{path}?by=model,,day&by=model");
        assert_eq!(open.send(Method::GET, &few, None).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn an_export_with_a_wrong_parameter_or_without_its_database_is_an_error_from_its_head_on() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let export = async |query: &str| {
        let path = format!("/admin/v1/calls:export?{query}");
        send(&admin, "GET", &path, &[]).await
    };
    for (query, status, code) in [
        ("key=nobody", 404, "key_not_found"),
        ("ending=well", 400, "invalid_value"),
        ("since=-5s", 400, "invalid_value"),
        (
            "startTime=2026-01-02T00:00:00Z&endTime=2026-01-01T00:00:00Z",
            400,
            "invalid_value",
        ),
    ] {
        let answer = export(query).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        let (got, found, _) = error(status_and_json(answer).await);
        assert_eq!((got, found.as_str()), (status, code), "{query}");
    }
    let empty = export("ending=failed").await;
    assert_eq!(
        (empty.status().as_u16(), &*empty.text().await.unwrap()),
        (200, "")
    );
    // Only the table is gone, so the keys are still known.
    let drop = "DROP TABLE featherwire_call_blocks";
    database.execute(drop).await;
    let (status, code, _) = error(status_and_json(export("").await).await);
    assert_eq!((status, code.as_str()), (503, "database_unavailable"));
}

#[tokio::test]
async fn a_path_tells_its_methods_and_answers_head_as_get() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let list = admin.ok("ListKeys", json!({})).await;
    let key = format!("/admin/v1/keys/{}", text(&list["keys"][0], "id"));
    let rotate = format!("{key}:rotate");
    for (verb, path, allowed) in [
        ("PUT", "/admin/v1/keys", "POST, GET, HEAD"),
        ("POST", &*key, "GET, HEAD, PATCH, DELETE"),
        ("GET", &rotate, "POST"),
        ("HEAD", &rotate, "POST"),
        ("DELETE", "/v1/key", "GET, HEAD"),
    ] {
        let answer = send(&admin, verb, path, &[]).await;
        assert_eq!(answer.status(), 405, "{verb} {path}");
        assert_eq!(answer.headers()["allow"], allowed, "{verb} {path}");
    }
    // So that an answer is worth its compression.
    let labels: serde_json::Map<_, _> = (0..60)
        .map(|n| (format!("{n:0>200}"), json!("label".repeat(40))))
        .collect();
    let large = admin
        .ok("CreateKey", json!({"name": "app", "labels": labels}))
        .await;
    let large = format!("/admin/v1/keys/{}", text(&large, "id"));
    let described = |headers: &HeaderMap| {
        [
            "content-type",
            "content-encoding",
            "content-length",
            "cache-control",
        ]
        .map(|name| headers.get(name).cloned())
    };
    let gzip = [("accept-encoding", "gzip")];
    for path in ["/admin/v1/keys", &key, &large, "/admin/v1/audit", "/v1/key"] {
        let get = send(&admin, "GET", path, &gzip).await;
        let head = send(&admin, "HEAD", path, &gzip).await;
        let is_compressed = get.headers().contains_key("content-encoding");
        assert!(is_compressed || path != large, "{path}");
        assert_eq!((get.status().as_u16(), head.status().as_u16()), (200, 200));
        assert_eq!(
            described(head.headers()),
            described(get.headers()),
            "{path}"
        );
        assert_eq!(head.text().await.unwrap(), "", "{path}");
    }
    // Over HTTP/1.1 hyper leaves the body out, and over HTTP/2 it does not.
    let host = admin.address.strip_prefix("http://").unwrap();
    let stream = TokioIo::new(TcpStream::connect(host).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let bearer = format!("Bearer {}", admin.key.as_ref().unwrap());
    for (key, status) in [(&*bearer, 200), ("Bearer gw_other", 401)] {
        let request = http::Request::head(format!("{}/admin/v1/keys", admin.address))
            .header("authorization", key)
            .body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_ne!(answer.headers()["content-length"], "0");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "");
    }
    connection.abort();
    let unknown = send(&admin, "HEAD", "/admin/v1/keys/nobody", &[]).await;
    assert_eq!(unknown.status(), 400);
    let export = send(&admin, "HEAD", "/admin/v1/calls:export", &[]).await;
    assert_eq!(
        export.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
}

#[tokio::test]
async fn a_wrong_path_gets_advice_that_works() {
    let (_child, address) = program::serve(&["--emulator"]).await;
    let open = Admin::new(&address, None);
    let advice = async |verb: Method, path: &str, body: Option<&str>| {
        let answer = open.send(verb, path, body.map(str::to_owned)).await;
        error(answer).2
    };
    let id = "01980000-0000-7000-8000-000000000000";
    let enable = format!("/admin/v1/keys/{id}:enable");
    let message = advice(Method::POST, &enable, None).await;
    assert!(
        message.contains(":rotate") && message.contains(":revoke") && !message.contains("Write"),
        "{message}"
    );
    let upper = format!("/Admin/v1/keys/{id}");
    let message = advice(Method::GET, &upper, None).await;
    assert!(
        message.contains(&format!("Write /admin/v1/keys/{id},")),
        "{message}"
    );
    let message = advice(Method::GET, "/admin/v1/keys/%ff", None).await;
    assert!(
        !message.contains("Write") && message.contains("GET /admin/v1/keys/{id}"),
        "{message}"
    );
    for (service, path) in [
        ("admin.v1.KeyService/CreateKey", "/admin/v1/keys"),
        ("admin.v1.UsageService/QueryUsage", "/admin/v1/usage"),
        ("v1.CallerService/GetOwnKey", "/v1/key"),
        (
            "v1.ChatService/CreateChatCompletion",
            "/v1/chat/completions",
        ),
    ] {
        // A path of Connect, without a content type.
        let path_of_method = format!("/featherwire.{service}");
        let (status, error) = open.send(Method::POST, &path_of_method, None).await;
        let message = error["message"].as_str().unwrap();
        assert!(
            status == 415 && message.contains(path),
            "{service}: {message}"
        );
    }
}
