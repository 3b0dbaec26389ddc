//! Gateway keys: the calls that need one, at each door, and the calls that do not.

use featherwire::{config::Serve, error::Kind};
use secrecy::SecretString;
use serde_json::Value;

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt, rest::http, scripted::whole,
};

async fn locked(emulator: &Emulator) -> Gateway {
    Gateway::with(emulator.address, |config: &mut Serve| {
        config.api_keys = ["gw_live_one", "gw_test_two"]
            .map(SecretString::from)
            .to_vec();
    })
    .await
}

#[tokio::test]
async fn a_known_key_opens_every_door_and_nothing_else_does() {
    let emulator = Emulator::start().await;
    let gateway = locked(&emulator).await;
    for door in Door::ALL {
        let good = [
            "Bearer gw_live_one",
            "Bearer gw_test_two",
            "bearer gw_live_one",
            "BEARER  gw_live_one",
            "gw_live_one",
        ];
        for good in good {
            gateway
                .ask_with(door, &prompt(MODEL, "hi"), &[("authorization", good)])
                .await
                .ok();
        }
        for name in ["x-api-key", "api-key"] {
            gateway
                .ask_with(door, &prompt(MODEL, "hi"), &[(name, "gw_live_one")])
                .await
                .ok();
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &[(name, "gw_live_on")])
                .await;
            answer.failed(Kind::Unauthenticated, "invalid_api_key");
        }
        // One known key is enough.
        let both = [
            ("authorization", "Bearer unused"),
            ("x-api-key", "gw_test_two"),
        ];
        gateway
            .ask_with(door, &prompt(MODEL, "hi"), &both)
            .await
            .ok();
        let both = [
            ("authorization", "Bearer gw_live_one"),
            ("api-key", "unused"),
        ];
        gateway
            .ask_with(door, &prompt(MODEL, "hi"), &both)
            .await
            .ok();
        let neither = [
            ("authorization", "Bearer unused"),
            ("x-api-key", "gw"),
            ("api-key", "Bearer"),
        ];
        let answer = gateway.ask_with(door, &prompt(MODEL, "hi"), &neither).await;
        answer.failed(Kind::Unauthenticated, "invalid_api_key");
        let bad = [
            "Bearer gw_live_on",
            "Bearer gw_live_onee",
            "Bearer gw_live_ONE",
            "Bearer ",
            "Bearer",
            "gw_live_on",
            "Bearergw_live_one",
            "Basic gw_live_one",
            "Bearer gw_live_one,gw_test_two",
        ];
        for bad in bad {
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &[("authorization", bad)])
                .await;
            let failure = answer.failed(Kind::Unauthenticated, "invalid_api_key");
            assert!(
                !failure.message.contains("gw_live_on"),
                "the error does not repeat the key: {failure:?}"
            );
        }
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Unauthenticated, "invalid_api_key");
        assert!(
            failure.message.contains("Authorization: Bearer gw_"),
            "{failure:?}"
        );
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn the_catalogue_needs_a_key_and_the_probes_do_not() {
    let emulator = Emulator::start().await;
    let gateway = locked(&emulator).await;
    let get = |path: &str| http().get(gateway.url(path));
    for path in ["/v1/models", "/v1/models/google/gemma-2-9b-it"] {
        let response = get(path).send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(
            get(path)
                .bearer_auth("gw_live_one")
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(path).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_open_gateway_answers_only_to_names_of_this_machine() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let status = async |host: &str| {
        http()
            .get(gateway.url("/v1/models"))
            .header("host", host)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for here in [
        "localhost",
        "localhost:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "app.localhost",
        "LOCALHOST",
        "LocalHost.:80",
        "App.LOCALHOST.",
    ] {
        assert_eq!(status(here).await, 200, "{here}");
    }
    for elsewhere in [
        "a b.evil",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.0.2.1",
        "localhost..",
        "",
    ] {
        assert_eq!(status(elsewhere).await, 403, "{elsewhere}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_anywhere_with_keys_and_from_this_machine_without() {
    let emulator = Emulator::start().await;
    let asks = async |gateway: &Gateway, path: &str, origin: &str| {
        let ask = http()
            .request(http::Method::OPTIONS, gateway.url(path))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,x-api-key,api-key,content-type,x-grpc-web,x-user-agent,grpc-timeout",
            );
        let response = ask.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let allowed = response.headers().get("access-control-allow-headers");
        let allowed = allowed.unwrap().to_str().unwrap();
        assert!(
            ["x-grpc-web", "authorization", "x-api-key", "api-key"]
                .iter()
                .all(|name| allowed.contains(name))
        );
        response
            .headers()
            .get("access-control-allow-origin")
            .map(|origin| origin.to_str().unwrap().to_owned())
    };
    let paths = [
        "/v1/chat/completions",
        "/featherwire.v1.ChatService/StreamChatCompletion",
    ];
    let (open, locked) = (Gateway::to(emulator.address).await, locked(&emulator).await);
    for path in paths {
        assert_eq!(
            asks(&locked, path, "https://app.example").await.as_deref(),
            Some("*")
        );
        assert_eq!(asks(&open, path, "https://app.example").await, None);
        let local = "http://localhost:5173";
        assert_eq!(asks(&open, path, local).await.as_deref(), Some(local));
    }
    let listed = Gateway::with(emulator.address, |config| {
        config.cors_origins = vec!["https://app.example/".to_owned()]
    })
    .await;
    assert_eq!(
        asks(&listed, paths[0], "https://app.example")
            .await
            .as_deref(),
        Some("https://app.example")
    );
    assert_eq!(asks(&listed, paths[0], "https://other.example").await, None);

    let answer = http()
        .get(open.url("/v1/models"))
        .header("origin", "http://localhost:5173")
        .send()
        .await
        .unwrap();
    let exposed = answer.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap()
        .to_owned();
    for name in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-id",
    ] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let _: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
}

#[tokio::test]
async fn a_callers_key_is_never_sent_upstream() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec![SecretString::from("gw_live_one")]
    })
    .await;
    for header in [
        ("authorization", "Bearer gw_live_one"),
        ("x-api-key", "gw_live_one"),
        ("api-key", "gw_live_one"),
    ] {
        for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
            gateway
                .ask_with(door, &prompt(MODEL, "hi"), &[header])
                .await
                .ok();
        }
    }
    assert_eq!(upstream.requests().len(), 9);
    for seen in upstream.requests() {
        assert!(
            !seen.head.contains("gw_live_one")
                && seen
                    .header("x-api-key")
                    .or(seen.header("api-key"))
                    .is_none()
        );
        assert_eq!(seen.header("authorization"), Some("Bearer upstream-secret"));
    }
}
