//! What the log of a gateway says of its Redis and of its cluster.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{SPACE, connect};
use crate::{
    configuration_file::folder,
    support::{
        program::{featherwire, line_with, started},
        redis::RedisServer,
        rest::http as http_client,
    },
};

#[tokio::test]
async fn a_redis_that_may_drop_keys_is_a_warning_at_the_start() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let set = async |name: &str, value: &str| {
        let () = server.command(&["CONFIG", "SET", name, value]).await;
    };
    set("maxmemory-policy", "allkeys-lru").await;
    assert_eq!(
        redis.eviction_warning().await,
        None,
        "its memory has no limit"
    );
    set("maxmemory", "100mb").await;
    // All keys of a cluster expire.
    for policy in [
        "allkeys-lru",
        "allkeys-random",
        "volatile-ttl",
        "volatile-lru",
    ] {
        set("maxmemory-policy", policy).await;
        let told = redis.eviction_warning().await.unwrap();
        assert!(told.contains(policy), "{told}");
    }
    let mut serve = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    serve.env(
        "FEATHERWIRE_REDIS_URL",
        format!("redis://127.0.0.1:{}", server.port),
    );
    let (_gateway, address, mut log) = started(serve).await;
    let told = line_with(&mut log, |line| line.contains("maxmemory-policy")).await;
    assert!(
        told.contains("featherwire: warning: the Redis at 127.0.0.1"),
        "{told}"
    );
    assert!(
        told.contains("volatile-lru") && told.contains("noeviction"),
        "{told}"
    );
    let ready = http_client().get(format!("{address}/readyz")).send().await;
    assert_eq!(ready.unwrap().status(), 200);
    set("maxmemory-policy", "noeviction").await;
    assert_eq!(redis.eviction_warning().await, None);
}

#[tokio::test]
async fn the_first_gateway_of_a_cluster_says_that_calls_wait() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let serve = async || {
        let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
        command
            .env(
                "FEATHERWIRE_REDIS_URL",
                format!("redis://127.0.0.1:{}", server.port),
            )
            .env("FEATHERWIRE_CLUSTER_NAME", SPACE);
        started(command).await
    };
    let says = |line: &str| line.contains("calls wait until it is known");
    let (_first, _, mut log) = serve().await;
    let told = line_with(&mut log, says).await;
    assert!(
        told.contains("INFO") && told.contains("wait_ms=3000"),
        "{told}"
    );
    // The second one follows, and nothing waits for it.
    let (_second, _, mut log) = serve().await;
    line_with(&mut log, |line| {
        assert!(!says(line), "{line}");
        line.contains("another gateway leads the cluster")
    })
    .await;
}

#[tokio::test]
async fn a_line_about_the_cluster_of_an_account_names_it_if_there_are_several() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    for names in [&["one"][..], &["one", "two"]] {
        let tables = names.iter().map(|name| {
            format!(
                "[[account]]\nname = '{name}'\nunits = 4\n\
                 featherless_base_url = 'http://127.0.0.1:9/v1'\n"
            )
        });
        let folder = folder(tables.collect::<String>());
        let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--config", "fw.toml"]);
        command
            .args(["--log-format", "json", "--cluster-name"])
            .arg(format!("{SPACE}-{}", names.len()))
            .arg(format!("--redis-url=redis://127.0.0.1:{}", server.port))
            .current_dir(&folder.0);
        let (_gateway, _, mut log) = started(command).await;
        let messages = [
            "this gateway leads the cluster",
            "calls wait until it is known",
        ];
        let mut named = BTreeSet::new();
        for _ in 0..messages.len() * names.len() {
            let is_about = |line: &str| messages.iter().any(|message| line.contains(message));
            let line = line_with(&mut log, is_about).await;
            let line: Value = serde_json::from_str(&line).unwrap();
            let account = line["account"].as_str().unwrap_or_default();
            let message = line["message"].as_str().unwrap();
            named.insert((message.starts_with(messages[0]), account.to_owned()));
        }
        let expected = names.iter().flat_map(|name| {
            let name = if names.len() > 1 { *name } else { "" };
            [true, false].map(|leads| (leads, name.to_owned()))
        });
        assert_eq!(named, expected.collect());
    }
}
