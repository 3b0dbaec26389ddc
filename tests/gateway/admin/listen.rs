//! `--admin-listen`: the administration at an address of its own.

use http::Method;
use serde_json::json;

use super::doors::{Admin, Door, infer};
use crate::{
    keys::text,
    support::{
        Database, poll,
        program::{featherwire, run, serve_with_log},
        prompt,
        rest::{http, post},
    },
};

#[tokio::test]
async fn the_administration_answers_only_at_its_own_address() {
    let (_child, address, mut log) =
        serve_with_log(&["--emulator", "--admin-listen", "127.0.0.1:0"]).await;
    let own_address = loop {
        let line = log.recv().await.unwrap();
        if let Some((_, url)) = line.split_once("administration: ") {
            break url.to_owned();
        }
    };
    let (callers, own) = (Admin::new(&address, None), Admin::new(&own_address, None));
    let (status, answer) = callers.send(Method::GET, "/admin/v1/keys", None).await;
    assert_eq!(
        (status, text(&answer["error"], "code")),
        (404, "unknown_path")
    );
    for door in [Door::Grpc, Door::Web] {
        let refused = callers.call(door, "ListKeys", json!({})).await.unwrap_err();
        assert_eq!(refused.0, "unknown_service", "{door:?}");
        assert!(refused.1.contains("--admin-listen"), "{refused:?}");
    }
    for door in Door::ALL {
        own.call(door, "ListKeys", json!({})).await.unwrap();
    }
    assert_eq!(
        (infer(&address, None).await, infer(&own_address, None).await),
        (200, 404)
    );
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/docs", 404),
        ("/v1/key", 404),
        ("/v1/chat/completions", 404),
    ] {
        let get = http()
            .get(format!("{own_address}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(get.status(), status, "{path}");
    }
    let refused = own
        .call(Door::Grpc, "GetOwnKey", json!({}))
        .await
        .unwrap_err();
    assert_eq!(refused.0, "unknown_service");
}

#[tokio::test]
async fn during_the_drain_its_own_address_still_answers_probes() {
    let (mut child, address, mut log) =
        serve_with_log(&["--emulator", "--admin-listen", "127.0.0.1:0"]).await;
    let own_address = loop {
        let line = log.recv().await.unwrap();
        if let Some((_, url)) = line.split_once("administration: ") {
            break url.to_owned();
        }
    };
    let mut request = prompt("emulator/slow", "Say hello in 500 words");
    request["stream"] = json!(true);
    let running = post(
        format!("{address}/v1/chat/completions"),
        request.to_string(),
    );
    let mut running = running.send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    let pid = child.id().unwrap().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(kill.unwrap().success());
    let ready = async |address: &str| {
        let get = http().get(format!("{address}/readyz")).send().await;
        get.map(|answer| answer.status().as_u16()).ok()
    };
    poll::until("the drain begins", async || {
        ready(&address).await == Some(503)
    })
    .await;
    assert_eq!(ready(&own_address).await, Some(503));
    let refused = Admin::new(&own_address, None)
        .call(Door::Grpc, "ListKeys", json!({}))
        .await;
    assert_eq!(refused.unwrap_err().0, "draining");
    drop(running);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(ready(&own_address).await, None, "it is closed at the end");
}

#[tokio::test]
async fn other_machines_manage_keys_only_with_an_admin_key() {
    let database = Database::sqlite();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--emulator",
        "--admin-listen",
    ];
    for (address, says) in [
        ("0.0.0.0:0", "featherwire keys create --admin admin"),
        ("somewhere", "--admin-listen"),
    ] {
        let arguments = [&serve[..], &[address]].concat();
        let mut command = featherwire(&arguments);
        command.env("FEATHERWIRE_DATABASE_URL", &database.url);
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(2), "{address}");
        assert!(ended.err.contains(says), "{address}: {}", ended.err);
    }
    // A database in memory has no key at the start, so another one is needed first.
    let mut command = featherwire(&[&serve[..], &["0.0.0.0:0"]].concat());
    let ended = run(&mut command).await;
    assert!(
        ended.code == Some(2)
            && ended
                .err
                .contains("set FEATHERWIRE_DATABASE_URL=sqlite:PATH"),
        "{}",
        ended.err
    );
    let create = ["create", "--name", "root", "--admin", "admin"];
    let root = database.keys_json(&create).await;
    let mut command = featherwire(&[&serve[..], &["0.0.0.0:0"]].concat());
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let (_child, _, mut log) = crate::support::program::started(command).await;
    let port = loop {
        let line = log.recv().await.unwrap();
        if let Some((_, port)) = line.split_once("administration: http://0.0.0.0:") {
            break port.to_owned();
        }
    };
    let address = format!("http://127.0.0.1:{port}");
    let root = Admin::new(&address, Some(text(&root, "secret")));
    root.ok("ListKeys", json!({})).await;
    let nobody = Admin::new(&address, None);
    assert!(
        nobody
            .call(Door::Rest, "ListKeys", json!({}))
            .await
            .is_err()
    );
}
