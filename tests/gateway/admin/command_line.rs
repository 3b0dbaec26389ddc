//! `featherwire keys --gateway`: the command line through a running gateway.

use bytes::Bytes;
use featherwire::proto::{admin::v1 as admin, v1::KeyRole};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{doors::infer, keys::start};
use crate::{
    keys::{serve, text},
    support::{
        Database,
        door::frame,
        program::{Ended, featherwire, run},
    },
};

/// Runs `featherwire keys` with these arguments at a gateway.
pub async fn keys(gateway: &str, admin: Option<&str>, arguments: &[&str]) -> Ended {
    let mut command = featherwire(&["keys"]);
    command.args(arguments).args(["--gateway", gateway]);
    if let Some(admin) = admin {
        command.env("FEATHERWIRE_ADMIN_KEY", admin);
    }
    run(&mut command).await
}

#[tokio::test]
async fn the_command_line_says_the_same_at_a_gateway_as_at_its_database() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let secret = admin.key.as_deref();
    let at_gateway = async |arguments: &[&str]| {
        let ended = keys(&admin.address, secret, arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        ended.out
    };
    let json = async |arguments: &[&str]| -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&at_gateway(&arguments).await).unwrap()
    };
    let made = json(&[
        "create",
        "--name",
        "app",
        "--test",
        "--owner",
        "Ada",
        "--label",
        "team=search",
        "--models",
        "org/*",
        "--requests-per-minute",
        "60",
        "--budget",
        "tokens=1000/day",
        "--highest-priority",
        "batch",
        "--expires",
        "30d",
    ])
    .await;
    let (id, app) = (text(&made, "id"), text(&made, "secret"));
    assert!(app.starts_with("gw_test_"));
    let same = async |what: &str| {
        for arguments in [&["show", "app"][..], &["list"], &["show", id, "--json"]] {
            let here = database.keys(arguments).await;
            assert_eq!(
                at_gateway(arguments).await,
                here.out,
                "{what}: {arguments:?}"
            );
        }
    };
    same("created").await;
    let updated = json(&[
        "update",
        "app",
        "--weight",
        "3",
        "--clear",
        "models,expires",
        "--disable",
    ])
    .await;
    assert_eq!(
        (&updated["limits"]["weight"], text(&updated, "state")),
        (&3.into(), "disabled")
    );
    same("updated").await;
    json(&["update", "app", "--enable"]).await;
    // A change that changes nothing is no error.
    json(&["update", "app", "--enable"]).await;
    let rotated = json(&["rotate", "app", "--grace", "0s"]).await;
    assert_eq!(text(&rotated, "id"), id);
    assert_eq!(infer(&admin.address, Some(app)).await, 401);
    same("rotated").await;
    at_gateway(&["revoke", id]).await;
    same("revoked").await;
    at_gateway(&["delete", "app"]).await;
    for unknown in ["app", id] {
        for command in ["show", "rotate", "revoke", "delete"] {
            let gone = keys(&admin.address, secret, &[command, unknown]).await;
            let here = database.keys(&[command, unknown]).await;
            assert_eq!(
                (gone.code, &gone.err),
                (Some(1), &here.err),
                "{command} {unknown}"
            );
        }
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_says_what_to_do() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let refused = keys(&admin.address, None, &["list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("FEATHERWIRE_ADMIN_KEY"),
        "{}",
        refused.err
    );
    let wrong = keys(&admin.address, Some("gw_admin_wrong"), &["list"]).await;
    assert!(
        wrong.code == Some(1)
            && wrong.err.contains("Unknown gateway key")
            && wrong.err.contains("FEATHERWIRE_ADMIN_KEY (--admin-key)"),
        "{}",
        wrong.err
    );
    let no_header = keys(&admin.address, Some("gw_admin_\n"), &["list"]).await;
    assert!(
        no_header.code == Some(1)
            && no_header
                .err
                .contains("(FEATHERWIRE_ADMIN_KEY, or --admin-key)"),
        "{}",
        no_header.err
    );
    let bad = ["create", "--name", "", "--json"];
    let bad = keys(&admin.address, admin.key.as_deref(), &bad).await;
    assert!(
        bad.code == Some(2) && bad.err.contains("name: it is empty"),
        "{}",
        bad.err
    );
    let both = ["list", "--database-url", &database.url];
    let both = keys(&admin.address, admin.key.as_deref(), &both).await;
    assert!(
        both.code == Some(2) && both.err.contains("give one of them"),
        "{}",
        both.err
    );
    let nobody = keys("http://127.0.0.1:1", None, &["list"]).await;
    assert!(
        nobody.code == Some(1)
            && nobody.err.contains("no gateway")
            && nobody.err.contains("(--gateway)"),
        "{}",
        nobody.err
    );
}

#[tokio::test]
async fn the_key_that_closes_a_gateway_is_created_with_its_notice() {
    for json in [false, true] {
        let database = Database::sqlite();
        let (_child, address) = serve(&database, &[]).await;
        let create: &[&str] = match json {
            false => &["create", "--name", "app"],
            true => &["create", "--name", "app", "--json"],
        };
        let made = keys(&address, None, create).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        let notice = "featherwire: This gateway had no keys";
        assert!(made.err.starts_with(notice), "{}", made.err);
        let secret = match json {
            false => made.out.trim().to_owned(),
            true => {
                let made: Value = serde_json::from_str(&made.out).unwrap();
                text(&made, "secret").to_owned()
            }
        };
        assert_eq!(infer(&address, Some(&secret)).await, 200);
        assert_eq!(infer(&address, None).await, 401);
    }
}

#[tokio::test]
async fn a_secret_is_printed_though_its_key_is_not_understood() {
    let role = KeyRole::Viewer as i32 + 90;
    let key = admin::Key {
        role,
        ..admin::Key::default()
    };
    let answer = admin::CreateKeyResponse {
        id: "an-id".to_owned(),
        name: "app".to_owned(),
        secret: "gw_live_secret".to_owned(),
        key: Some(key.clone()),
        notice: String::new(),
    };
    let newer = gateway_that_answers(answer.encode_to_vec()).await;
    let made = keys(&newer, None, &["create", "--name", "app"]).await;
    assert_eq!(
        (made.code, &*made.out),
        (Some(1), "gw_live_secret\n"),
        "{}",
        made.err
    );
    assert!(
        made.err.contains("use the gateway's version"),
        "{}",
        made.err
    );
    let made = keys(&newer, None, &["create", "--name", "app", "--json"]).await;
    let json: Value = serde_json::from_str(&made.out).unwrap();
    let expected = serde_json::json!({"id": "an-id", "name": "app", "secret": "gw_live_secret"});
    assert_eq!((made.code, json), (Some(1), expected));

    let answer = admin::RotateKeyResponse {
        secret: "gw_live_other".to_owned(),
        key: Some(key),
        ..admin::RotateKeyResponse::default()
    };
    let newer = gateway_that_answers(answer.encode_to_vec()).await;
    let id = "01980000-0000-7000-8000-000000000000";
    let rotated = keys(&newer, None, &["rotate", id]).await;
    assert_eq!((rotated.code, &*rotated.out), (Some(1), "gw_live_other\n"));
}

/// The address of a server that answers each call of gRPC with this message.
async fn gateway_that_answers(message: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let body = Bytes::from(frame(&message));
    let answer = service_fn(move |_| {
        let body = Full::new(body.clone());
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let body = body.with_trailers(async { Some(Ok(trailers)) });
        let answer = http::Response::builder().header("content-type", "application/grpc");
        async { answer.body(body) }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let http = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(stream), answer.clone()));
        }
    });
    address
}
