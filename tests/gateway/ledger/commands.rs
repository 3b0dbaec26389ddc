//! What the command line shows of a gateway that runs, has ended, or was killed.

use std::{collections::BTreeSet, process::Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    key_limits::{json_of, post, with_key},
    keys::{end, serve, text},
    support::{
        Database, MODEL, PATIENCE, poll,
        program::{featherwire, run},
        prompt,
    },
};

/// Runs a command on a database: what it prints as JSON.
async fn shown(database: &Database, arguments: &[&str]) -> Value {
    let mut command = featherwire(arguments);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let ended = run(&mut command).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    serde_json::from_str(&ended.out).unwrap_or(Value::String(ended.out))
}

#[tokio::test]
async fn the_command_line_shows_what_a_drained_gateway_has_recorded() {
    for database in Database::each().await {
        let key = database.keys_json(&["create", "--name", "app"]).await;
        let secret = text(&key, "secret");
        let (child, address) = serve(&database, &[]).await;
        let mut tokens = 0;
        for _ in 0..12 {
            let answer = post(&address, secret, prompt(MODEL, "hi"), &[]).await;
            let (_, answer) = json_of(answer).await;
            tokens += answer["usage"]["prompt_tokens"].as_u64().unwrap();
        }
        let refused = post(
            &address,
            secret,
            json!({"model": MODEL, "messages": []}),
            &[],
        )
        .await;
        assert_eq!(refused.status(), 400);
        // Its end writes the last records.
        end(child).await;
        let arguments = ["usage", "--by", "key", "--since", "1d", "--json"];
        let rows = shown(&database, &arguments).await;
        assert_eq!(rows.as_array().unwrap().len(), 1);
        let row = &rows[0];
        assert_eq!(row["key"], "app");
        assert_eq!(row["key_id"], key["id"]);
        assert_eq!((&row["calls"], &row["failed"]), (&json!(13), &json!(1)));
        assert_eq!(
            (&row["cancelled"], &row["prompt_tokens"]),
            (&json!(0), &json!(tokens))
        );
        assert!(row["unit_seconds"].is_number() && row["completion_tokens"].is_u64());
        for (by, name) in [("model", MODEL), ("day", "20"), ("hour", "20")] {
            let rows = shown(&database, &["usage", "--by", by, "--json"]).await;
            let row = &rows[0];
            assert_eq!(row["calls"], 13, "{rows}");
            let member = if by == "model" { "model" } else { "start" };
            assert!(text(row, member).starts_with(name), "{rows}");
        }
        let none = shown(&database, &["usage", "--key", "env-1", "--json"]).await;
        assert_eq!(none, json!([]));
        for format in ["table", "csv"] {
            let printed = shown(&database, &["usage", "--format", format]).await;
            let printed = printed.as_str().unwrap();
            assert!(printed.contains("app"), "{printed}");
            let is_narrow = printed.lines().all(|line| line.chars().count() < 80);
            assert!(is_narrow || format == "csv", "{printed}");
        }
        let calls = shown(&database, &["calls", "--json", "--limit", "13"]).await;
        let calls = calls.as_array().unwrap();
        assert_eq!(calls.len(), 13);
        assert_eq!(calls[12]["error"], "invalid_value");
        assert_eq!(
            (&calls[0]["end"], &calls[0]["key"]),
            (&json!("finished"), &json!("app"))
        );
        let failed = shown(&database, &["calls", "--json", "--end", "failed"]).await;
        assert_eq!(failed.as_array().unwrap().len(), 1);
        let lines = shown(&database, &["calls"]).await;
        let lines = lines.as_str().unwrap();
        assert_eq!(lines.lines().count(), 13);
        assert!(lines.lines().all(|line| line.contains(MODEL)), "{lines}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_killed_loses_at_most_its_last_batch_and_doubles_nothing() {
    for database in Database::each().await {
        let key = database.keys_json(&["create", "--name", "app"]).await;
        let secret = text(&key, "secret");
        let (mut child, address) = serve(&database, &[]).await;
        let count = async || {
            let rows = shown(&database, &["usage", "--json"]).await;
            rows[0]["calls"].as_u64().unwrap_or_default()
        };
        for _ in 0..20 {
            assert_eq!(
                post(&address, secret, prompt(MODEL, "hi"), &[])
                    .await
                    .status(),
                200
            );
        }
        poll::until("the calls are recorded", async || count().await == 20).await;
        for _ in 0..5 {
            assert_eq!(
                post(&address, secret, prompt(MODEL, "hi"), &[])
                    .await
                    .status(),
                200
            );
        }
        child.kill().await.unwrap();
        let left = count().await;
        assert!((20..=25).contains(&left), "{left}");
        let (child, address) = serve(&database, &[]).await;
        assert_eq!(
            post(&address, secret, prompt(MODEL, "hi"), &[])
                .await
                .status(),
            200
        );
        end(child).await;
        assert_eq!(count().await, left + 1);
        let calls = shown(&database, &["calls", "--limit", "1000", "--json"]).await;
        assert_eq!(calls.as_array().unwrap().len() as u64, left + 1);
    }
}

#[tokio::test]
async fn a_follower_sees_calls_as_they_end() {
    let ((_child, database), address, secret) = with_key(&[], &[]).await;
    assert_eq!(
        post(&address, &secret, prompt(MODEL, "hi"), &[])
            .await
            .status(),
        200
    );
    let mut command = featherwire(&["calls", "--follow", "--json"]);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut ids = BTreeSet::new();
    for number in 1..=3 {
        if number > 1 {
            let answer = post(&address, &secret, prompt(MODEL, "hi"), &[]).await;
            assert_eq!(answer.status(), 200);
        }
        let next = tokio::time::timeout(PATIENCE, lines.next_line());
        let line = next.await.unwrap().unwrap().unwrap();
        let call: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["key"], "app");
        ids.insert(text(&call, "id").to_owned());
    }
    assert_eq!(ids.len(), 3);
}
