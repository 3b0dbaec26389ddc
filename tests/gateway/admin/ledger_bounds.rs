//! How much a question about usage may ask for, and which keys it names.

use featherwire::ledger::{Ending, Grain, fixed_id};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    doors::{Admin, Door},
    keys::start,
    usage::{now, record, write},
};
use crate::{
    keys::text,
    support::{
        Database,
        program::{featherwire, run},
    },
};

/// One more than an answer may have.
const HOURS: i64 = 10_001;

#[tokio::test]
async fn an_answer_of_more_rows_than_the_largest_is_an_error_that_says_what_to_ask() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let app = admin.ok("CreateKey", json!({"name": "app"})).await;
    let id: Uuid = text(&app, "id").parse().unwrap();
    let app = Admin::new(&admin.address, Some(text(&app, "secret")));
    let now = now();
    let of = |hour: i64| {
        let at = now - hour * Grain::Hour.ms();
        record((id, "app"), "a/b", Ending::Finished, at)
    };
    let records: Vec<_> = (1..=HOURS).map(of).collect();
    for some in records.chunks(2000) {
        write(&database, some).await;
    }
    let by = |group: &str| json!({"by": [group], "since": "86400000s"});
    for door in Door::ALL {
        for (asks, method) in [(&admin, "QueryUsage"), (&app, "GetOwnUsage")] {
            let ask = async |question: Value| asks.call(door, method, question).await;
            let (code, message) = ask(by("USAGE_GROUP_HOUR")).await.unwrap_err();
            assert_eq!(code, "invalid_value", "{door:?} {method}");
            assert!(
                message.starts_with("by: the answer has more than 10000 rows: ask for a shorter"),
                "{message}"
            );
            let days = ask(by("USAGE_GROUP_DAY")).await.unwrap();
            assert_eq!(
                days["total"]["calls"],
                HOURS.to_string(),
                "{door:?} {method}"
            );
        }
    }
    // What the answer just has room for.
    let mut exactly = by("USAGE_GROUP_HOUR");
    let end = (now - Grain::Hour.ms()) / Grain::Hour.ms() * Grain::Hour.ms();
    exactly["endTime"] =
        json!(humantime::format_rfc3339(featherwire::clock::system_time(end)).to_string());
    let hours = admin.ok("QueryUsage", exactly).await;
    assert_eq!(hours["rows"].as_array().unwrap().len(), 10_000);
    let here = ["usage", "--by", "hour", "--since", "1000d"];
    let mut here = featherwire(&here);
    let ended = run(here.env("FEATHERWIRE_DATABASE_URL", &database.url)).await;
    assert!(
        ended.code == Some(1) && ended.err.contains("more than 10000 rows"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_question_finds_keys_by_id_and_name_and_both_if_a_name_is_that_of_the_variable() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let mut ids = Vec::new();
        for name in ["env-1", "everyone", "app", "app"] {
            let key = admin.ok("CreateKey", json!({"name": name})).await;
            ids.push(text(&key, "id").to_owned());
        }
        let at = now() - 60_000;
        let stored = ids.iter().map(|id| (id.parse().unwrap(), "stored"));
        let fixed = ["env-1", "everyone"].map(|name| (fixed_id(name), name));
        let records: Vec<_> = stored
            .chain(fixed)
            .map(|key| record(key, "a/b", Ending::Finished, at))
            .collect();
        write(&database, &records).await;
        admin.ok("DeleteKey", json!({"id": ids[2]})).await;
        let fixed_everyone = fixed_id("everyone").to_string();
        for door in Door::ALL {
            for (keys, calls) in [
                (json!(["env-1"]), 2),
                (json!(["everyone", "env-1"]), 4),
                (json!(["app"]), 2),
                (json!([ids[2]]), 1),
                (json!([ids[0].to_uppercase(), "env-1"]), 2),
                (json!([fixed_everyone]), 1),
                (json!(["env-7"]), 0),
            ] {
                let question = json!({"keys": keys});
                let usage = admin
                    .call(door, "QueryUsage", question.clone())
                    .await
                    .unwrap();
                assert_eq!(
                    usage["total"]["calls"],
                    calls.to_string(),
                    "{door:?} {keys}"
                );
                let list = admin.call(door, "ListCalls", question).await.unwrap();
                assert_eq!(
                    list["calls"].as_array().unwrap().len(),
                    calls,
                    "{door:?} {keys}"
                );
            }
            for unknown in [
                "01980000-0000-7000-8000-000000000000",
                "nobody",
                "env-01",
                "a\0b",
            ] {
                let question = json!({"keys": ["app", unknown]});
                for method in ["QueryUsage", "ListCalls"] {
                    let refused = admin.call(door, method, question.clone()).await;
                    let (code, message) = refused.unwrap_err();
                    assert_eq!(code, "key_not_found", "{door:?} {method} {unknown}");
                    assert!(message.contains(&format!("{unknown:?}")), "{message}");
                }
            }
        }
        let export = "/admin/v1/calls:export?key=01980000-0000-7000-8000-000000000000";
        assert_eq!(admin.send(Method::GET, export, None).await.0, 404);
    }
}
