//! `featherwire usage` and `calls` with `--gateway`: the ledger through a running gateway.

use std::{collections::BTreeSet, process::Stdio};

use featherwire::ledger::{Ending, Record, fixed_id};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use uuid::Uuid;

use super::{
    doors::{Admin, Door},
    keys::start,
    usage::{now, record, write},
};
use crate::{
    key_limits::post,
    keys::text,
    support::{
        Database, MODEL, PATIENCE,
        program::{Ended, featherwire, run},
        prompt,
    },
};

/// A command at a gateway.
fn command(gateway: &Admin, arguments: &[&str]) -> Command {
    let mut command = featherwire(arguments);
    command.args(["--gateway", &gateway.address]);
    if let Some(key) = &gateway.key {
        command.env("FEATHERWIRE_ADMIN_KEY", key);
    }
    command
}

/// A key with this role, at its gateway.
async fn with_role(admin: &Admin, role: &str) -> Admin {
    let key = json!({"name": role, "role": role});
    let key = admin.ok("CreateKey", key).await;
    Admin::new(&admin.address, Some(text(&key, "secret")))
}

#[tokio::test]
async fn usage_and_calls_are_the_same_at_a_gateway_as_at_its_database() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let viewer = with_role(&admin, "viewer").await;
        let key = async |name: &'static str| -> (Uuid, &'static str) {
            let key = admin.ok("CreateKey", json!({"name": name})).await;
            (text(&key, "id").parse().unwrap(), name)
        };
        let keys = [
            key("app").await,
            key("a, \"key\"").await,
            (fixed_id("env-1"), "env-1"),
        ];
        // More than a page, of two days, with times that tell percentiles apart.
        let old = now() - 24 * 3_600_000;
        let records: Vec<Record> = (0..1100_u32)
            .map(|number| {
                let model = ["a/b", "c/d", ""][number as usize % 3];
                let ending = Ending::ALL[number as usize % 7 % 3];
                let key = keys[number as usize % 5 % 3];
                Record {
                    account: ["", "one", "two"][number as usize % 11 % 3].into(),
                    duration_ms: u64::from(number * number / 10),
                    unit_ms: u64::from(number) * 7,
                    first_token_ms: (number % 2 == 0).then_some(u64::from(number)),
                    request_id: (number % 4 == 0).then(|| "a-request".into()),
                    upstream_request_id: (number % 4 == 1).then(|| "an-answer".into()),
                    ..record(key, model, ending, old + i64::from(number) * 60_000)
                }
            })
            .collect();
        for some in records.chunks(500) {
            write(&database, some).await;
        }
        let here = async |arguments: &[&str]| -> Ended {
            let mut command = featherwire(arguments);
            run(command.env("FEATHERWIRE_DATABASE_URL", &database.url)).await
        };
        for arguments in [
            &["usage"][..],
            &["usage", "--json"],
            &["usage", "--format", "csv"],
            &["usage", "--by", "model", "--since", "30d"],
            &["usage", "--by", "model", "--json"],
            &["usage", "--by", "account", "--since", "30d"],
            &["usage", "--by", "account", "--key", "app", "--json"],
            &[
                "usage",
                "--by",
                "account",
                "--account",
                "two,one",
                "--format",
                "csv",
            ],
            &["usage", "--by", "model", "--account", "one"],
            &["usage", "--account", "three"],
            &["usage", "--by", "day"],
            &["usage", "--by", "hour", "--format", "csv"],
            &["usage", "--key", "app,env-1"],
            &["usage", "--by", "day", "--key", "env-1,app", "--json"],
            &["usage", "--model", "c/d,a/b", "--by", "model"],
            &["usage", "--since", "12h", "--until", "3h", "--json"],
            &["usage", "--since", "2000-01-01", "--until", "2000-01-02"],
            &["usage", "--key", "env-7", "--format", "csv"],
            &["usage", "--key", "env-7"],
            &["calls"],
            &["calls", "--json"],
            &["calls", "--limit", "1099", "--json"],
            &["calls", "--limit", "2000"],
            &["calls", "--limit", "1", "--since", "12h"],
            &["calls", "--key", "app,env-1", "--model", "a/b", "--json"],
            &["calls", "--end", "failed", "--limit", "7"],
            &["calls", "--account", "two", "--json"],
            &["calls", "--end", "cancelled", "--since", "2099-01-01"],
        ] {
            let (here, there) = (
                here(arguments).await,
                run(&mut command(&viewer, arguments)).await,
            );
            assert_eq!(there.out, here.out, "{arguments:?}: {}", there.err);
            assert_eq!((there.code, &there.err), (here.code, &here.err));
            assert_eq!(here.code, Some(0), "{arguments:?}: {}", here.err);
        }
        let total = here(&["usage"]).await.out;
        assert!(total.contains("total") && total.contains("1100"), "{total}");
        let by_account = here(&["usage", "--by", "account", "--format", "csv"])
            .await
            .out;
        let mut lines = by_account.lines();
        assert!(
            lines.next().unwrap().starts_with("account,"),
            "{by_account}"
        );
        let names: Vec<_> = lines.map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(names, ["", "one", "two"]);
        let calls = here(&["calls", "--account", "two", "--json"]).await.out;
        let calls: Value = serde_json::from_str(&calls).unwrap();
        let calls = calls.as_array().unwrap();
        assert_eq!(calls.len(), 20);
        assert!(
            calls.iter().all(|call| call["account"] == "two"),
            "{calls:?}"
        );
    }
}

#[tokio::test]
async fn a_follower_at_a_gateway_sees_calls_as_they_end() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let viewer = with_role(&admin, "viewer").await;
    let app = with_role(&admin, "inference").await;
    let secret = app.key.as_deref().unwrap();
    let call = async || {
        let answer = post(&admin.address, secret, prompt(MODEL, "hi"), &[]).await;
        assert_eq!(answer.status(), 200);
    };
    call().await;
    let mut follower = command(&viewer, &["calls", "--follow", "--json"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut ids = BTreeSet::new();
    for number in 1..=3 {
        if number > 1 {
            call().await;
        }
        let next = tokio::time::timeout(PATIENCE, lines.next_line());
        let line = next.await.unwrap().unwrap().unwrap();
        let call: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["key"], "inference");
        ids.insert(text(&call, "id").to_owned());
    }
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_gateway_that_does_not_show_its_ledger_says_what_to_do() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let app = with_role(&admin, "inference").await;
    let nobody = Admin::new(&admin.address, None);
    let away = Admin::new("http://127.0.0.1:1", None);
    let both = ["--database-url", &database.url];
    for arguments in [&["usage"][..], &["calls"], &["calls", "--follow"]] {
        let with = |more: &[&'static str]| [arguments, more].concat();
        let mut names_both = command(&admin, arguments);
        names_both.args(both);
        for (mut command, code, expected) in [
            (command(&app, arguments), 1, "(wrong_key_role)"),
            (command(&nobody, arguments), 1, "FEATHERWIRE_ADMIN_KEY"),
            (command(&away, arguments), 1, "no gateway at"),
            (
                command(&admin, &with(&["--key", "app,none"])),
                1,
                "there is no key with the id or the name \"app\": `featherwire keys list`",
            ),
            (names_both, 2, "give one of them"),
        ] {
            let ended = run(&mut command).await;
            assert!(
                ended.code == Some(code) && ended.err.contains(expected),
                "{arguments:?}: {expected}: {:?} {}",
                ended.code,
                ended.err
            );
            assert_eq!(ended.out, "");
        }
    }
}

#[tokio::test]
async fn a_question_names_several_keys_and_models_by_every_door() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let at = now() - 60_000;
    let names = ["env-1", "env-2", "env-3"];
    let records: Vec<_> = names
        .iter()
        .zip(["a/b", "c/d", "e/f"])
        .map(|(name, model)| record((fixed_id(name), name), model, Ending::Finished, at))
        .collect();
    write(&database, &records).await;
    for door in Door::ALL {
        let calls =
            async |method: &str, question: Value| match admin.call(door, method, question).await {
                Ok(answer) if method == "QueryUsage" => text(&answer["total"], "calls").to_owned(),
                Ok(answer) => answer["calls"].as_array().unwrap().len().to_string(),
                Err((_, message)) => message,
            };
        for method in ["QueryUsage", "ListCalls"] {
            for (question, expected) in [
                (json!({"keys": ["env-1", "env-2"]}), "2"),
                (json!({"key": "env-3", "keys": ["env-1", "env-2"]}), "3"),
                (json!({"keys": vec!["env-1"; 100]}), "1"),
                (
                    json!({"keys": vec!["env-1"; 101]}),
                    "keys: expected at most 100",
                ),
                (
                    json!({"key": "env-1", "keys": [""]}),
                    "keys: one of them is empty",
                ),
            ] {
                let found = calls(method, question).await;
                assert_eq!(found, expected, "{door:?} {method}");
            }
        }
        let models = json!({"model": "a/b", "models": ["c/d"]});
        assert_eq!(calls("QueryUsage", models).await, "2", "{door:?}");
        let models = json!({"models": vec!["c/d"; 101]});
        let found = calls("QueryUsage", models).await;
        assert_eq!(found, "models: expected at most 100", "{door:?}");
    }
}
