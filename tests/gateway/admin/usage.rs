//! What calls have used: for administrators, and for callers about themselves.

use featherwire::{
    config::DatabaseLocation,
    ledger::{self, Door as CallDoor, Ending, Record, Rpc, TokenSource, Tokens, fixed_id},
    store::Store,
};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    doors::{Admin, Door},
    keys::start,
};
use crate::{
    keys::{serve, text},
    support::{Database, program, rest::http},
};

/// A call that ended at this time.
pub fn record(key: (Uuid, &str), model: &str, ending: Ending, ended_at: i64) -> Record {
    Record {
        ended_at,
        id: Uuid::now_v7(),
        key_id: key.0,
        key_name: key.1.into(),
        door: CallDoor::Rest,
        rpc: Rpc::CreateChatCompletion,
        model_asked: model.into(),
        model: model.into(),
        account: "".into(),
        ending,
        error_code: (ending == Ending::Failed).then(|| "no_capacity".into()),
        tokens: Tokens {
            prompt: 10,
            completion: 5,
            reasoning: 2,
            cached: 1,
            source: TokenSource::Upstream,
        },
        units: 2,
        unit_ms: 1500,
        waited_ms: 20,
        first_token_ms: Some(100),
        duration_ms: 750,
        attempts: 1,
        request_id: Some("a-request".into()),
        upstream_request_id: None,
    }
}

pub async fn write(database: &Database, records: &[Record]) {
    let location = match database.url.strip_prefix("sqlite:") {
        Some(path) => DatabaseLocation::File(path.into()),
        None => DatabaseLocation::Postgres(database.url.as_str().into()),
    };
    let store = Store::open(&location).await.unwrap();
    let blocks = ledger::Block::divide(records.to_vec());
    ledger::write(&store, &blocks).await.unwrap();
    store.close().await;
}

fn of(account: &str, record: Record) -> Record {
    Record {
        account: account.into(),
        ..record
    }
}

pub fn now() -> i64 {
    featherwire::clock::now()
}

async fn get(admin: &Admin, path: &str) -> (u16, Value) {
    admin.send(Method::GET, path, None).await
}

#[tokio::test]
async fn calls_are_added_up_listed_and_exported() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let app = admin.ok("CreateKey", json!({"name": "app"})).await;
        let viewer = json!({"name": "eye", "role": "viewer"});
        let viewer = admin.ok("CreateKey", viewer).await;
        let viewer = Admin::new(&admin.address, Some(text(&viewer, "secret")));
        let id: Uuid = text(&app, "id").parse().unwrap();
        let env = (fixed_id("env-1"), "env-1");
        let of_app = (id, "app");
        let at = now() - 60_000;
        let old = at - 30 * 24 * 3_600_000;
        write(
            &database,
            &[
                of("one", record(of_app, "a/b", Ending::Finished, at)),
                of("one", record(of_app, "a/b", Ending::Failed, at + 1)),
                of("two", record(of_app, "c/d", Ending::Cancelled, at + 2)),
                record(env, "a/b", Ending::Finished, at + 3),
                record(of_app, "a/b", Ending::Finished, old),
            ],
        )
        .await;
        let usage = async |query: &str| {
            let (status, answer) = get(&viewer, &format!("/admin/v1/usage?{query}")).await;
            assert_eq!(status, 200, "{answer}");
            answer
        };
        let calls = |answer: &Value, by: &str| {
            let rows = answer["rows"].as_array().unwrap().iter();
            let row = |row: &Value| (text(row, by).to_owned(), text(row, "calls").to_owned());
            rows.map(row).collect::<Vec<_>>()
        };
        let pair = |name: &str, calls: &str| (name.to_owned(), calls.to_owned());
        let by_key = usage("").await;
        assert_eq!(
            calls(&by_key, "key"),
            [pair("app", "3"), pair("env-1", "1")]
        );
        let row = &by_key["rows"][0];
        assert_eq!(
            (&row["failed"], &row["cancelled"]),
            (&json!("1"), &json!("1"))
        );
        assert_eq!(
            (&row["promptTokens"], &row["completionTokens"]),
            (&json!("30"), &json!("15"))
        );
        assert_eq!(
            (&row["unitSeconds"], &row["keyId"]),
            (&json!(4.5), &app["id"])
        );
        assert!(row["durationP50Ms"].is_string() && row["firstTokenP99Ms"].is_string());
        assert_eq!(by_key["total"]["calls"], "4");
        let by_model = usage("by=model&key=app&since=1d").await;
        assert_eq!(
            calls(&by_model, "model"),
            [pair("a/b", "2"), pair("c/d", "1")]
        );
        let by_account = usage("by=account,model&since=1d").await;
        let rows = by_account["rows"].as_array().unwrap().iter();
        let rows: Vec<_> = rows
            .map(|row| (text(row, "model"), text(row, "account"), text(row, "calls")))
            .collect();
        assert_eq!(
            rows,
            [("a/b", "", "1"), ("a/b", "one", "2"), ("c/d", "two", "1")]
        );
        let of_account = usage("account=one&accounts=two&by=key&since=1d").await;
        assert_eq!(calls(&of_account, "key"), [pair("app", "3")]);
        let both = usage("by=key,day&since=3650d&model=a/b").await;
        assert_eq!(both["rows"].as_array().unwrap().len(), 3);
        assert!(both["rows"][0]["startTime"].is_string());

        let list = async |query: &str| {
            let (status, answer) = get(&viewer, &format!("/admin/v1/calls?{query}")).await;
            assert_eq!(status, 200, "{answer}");
            answer
        };
        let page = list("pageSize=3").await;
        let first = &page["calls"][0];
        assert_eq!(
            (text(first, "key"), text(first, "ending")),
            ("env-1", "finished")
        );
        assert_eq!((text(first, "door"), &first["units"]), ("rest", &json!(2)));
        let token = text(&page, "nextPageToken");
        let rest = list(&format!("pageSize=3&pageToken={token}")).await;
        assert_eq!(rest["calls"].as_array().unwrap().len(), 2);
        assert_eq!(text(&rest, "nextPageToken"), "");
        let failed = list("ending=failed").await;
        assert_eq!(text(&failed["calls"][0], "errorCode"), "no_capacity");
        assert_eq!(failed["calls"].as_array().unwrap().len(), 1);
        let of_account = list("account=one").await;
        let of_account = of_account["calls"].as_array().unwrap();
        assert_eq!(of_account.len(), 2);
        assert!(of_account.iter().all(|it| text(it, "account") == "one"));

        let export = http()
            .get(format!("{}/admin/v1/calls:export?key={id}", admin.address))
            .bearer_auth(viewer.key.as_ref().unwrap());
        let export = export.send().await.unwrap();
        assert_eq!(
            export.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        let export = export.text().await.unwrap();
        let lines: Vec<Value> = export
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let models: Vec<_> = lines
            .iter()
            .map(|line| text(&line["call"], "model"))
            .collect();
        assert_eq!(models, ["a/b", "a/b", "a/b", "c/d"], "oldest first");
        for (path, param) in [
            ("usage?by=colour", "by[0]"),
            ("usage?by=hour&by=day", "by"),
            ("usage?since=-5s", "since"),
            (
                "usage?startTime=2026-01-02T00:00:00Z&endTime=2026-01-01T00:00:00Z",
                "end_time",
            ),
            ("calls?ending=well", "ending"),
            ("calls?pageToken=oops", "page_token"),
        ] {
            let (status, answer) = get(&viewer, &format!("/admin/v1/{path}")).await;
            assert_eq!(
                (status, &answer["error"]["param"]),
                (400, &json!(param)),
                "{path}"
            );
        }
        let unknown = get(&viewer, "/admin/v1/usage?key=nobody").await;
        assert_eq!(
            (unknown.0, text(&unknown.1["error"], "code")),
            (404, "key_not_found")
        );

        // A key for calls is told of itself, and of nobody else.
        let app = Admin::new(&admin.address, Some(text(&app, "secret")));
        let (status, own) = get(&app, "/v1/usage").await;
        assert_eq!(
            (status, &own["total"]["calls"]),
            (200, &json!("3")),
            "{own}"
        );
        assert_eq!(calls(&own, "model"), [pair("a/b", "2"), pair("c/d", "1")]);
        for path in ["usage", "calls", "calls:export"] {
            let (status, answer) = get(&app, &format!("/admin/v1/{path}")).await;
            assert_eq!(
                (status, text(&answer["error"], "code")),
                (403, "wrong_key_role")
            );
        }
    }
}

#[tokio::test]
async fn a_caller_sees_its_own_key_without_using_its_limits() {
    let database = Database::sqlite();
    let arguments = [
        "create",
        "--name",
        "app",
        "--requests-per-minute",
        "2",
        "--tokens-per-minute",
        "500",
        "--budget",
        "tokens=1000/day,requests=5/total",
        "--expires",
        "30d",
    ];
    let key = database.keys_json(&arguments).await;
    let (_child, address) = serve(&database, &[("FEATHERWIRE_API_KEYS", "gw_env")]).await;
    let app = Admin::new(&address, Some(text(&key, "secret")));
    for _ in 0..5 {
        let (status, own) = get(&app, "/v1/key").await;
        assert_eq!(status, 200, "{own}");
        assert_eq!((&own["id"], text(&own, "name")), (&key["id"], "app"));
        assert_eq!(text(&own, "state"), "KEY_STATE_ACTIVE");
        assert_eq!(own["limits"]["requestsPerMinute"], 2);
        assert_eq!(own["requestsPerMinute"]["left"], "2");
        assert!(own["requestsPerMinute"]["renewsAt"].is_string());
        assert_eq!(own["tokensPerMinute"]["left"], "500");
        assert_eq!(own["budgets"][0]["left"], "1000");
        assert!(own["budgets"][0]["renewsAt"].is_string() && own["expiresAt"].is_string());
        assert_eq!(
            own["budgets"][1].get("renewsAt"),
            None,
            "a total does not renew"
        );
        assert!(
            !own.to_string()
                .contains(text(&key, "secret").rsplit('_').next().unwrap())
        );
    }
    let models = http().get(format!("{address}/v1/models?page_size=1"));
    let models = models.bearer_auth(app.key.as_ref().unwrap());
    assert_eq!(models.send().await.unwrap().status(), 200);
    let (_, own) = get(&app, "/v1/key").await;
    assert_eq!(own["requestsPerMinute"]["left"], "1");
    let env = Admin::new(&address, Some("gw_env"));
    let (status, own) = get(&env, "/v1/key").await;
    assert_eq!(
        (status, text(&own, "name"), text(&own, "id")),
        (200, "env-1", "")
    );
    assert_eq!(get(&env, "/v1/usage").await.0, 200);
    assert_eq!(get(&Admin::new(&address, None), "/v1/key").await.0, 401);

    let (_open, address) = program::serve(&["--emulator"]).await;
    let (status, own) = get(&Admin::new(&address, None), "/v1/key").await;
    assert_eq!((status, text(&own, "name")), (200, "everyone"));
}

#[tokio::test]
async fn an_administrator_sees_its_own_key_by_every_door() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    for door in Door::ALL {
        let own = admin.call(door, "GetOwnKey", json!({})).await.unwrap();
        assert_eq!(
            (text(&own, "name"), text(&own, "role")),
            ("root", "KEY_ROLE_ADMIN")
        );
        let usage = admin.call(door, "GetOwnUsage", json!({})).await.unwrap();
        assert_eq!(usage["rows"], json!([]), "{door:?}");
        let usage = admin.call(door, "QueryUsage", json!({})).await.unwrap();
        assert_eq!(usage["total"]["calls"], "0", "{door:?}");
        let calls = admin.call(door, "ListCalls", json!({})).await.unwrap();
        assert_eq!(calls["calls"], json!([]), "{door:?}");
    }
}
