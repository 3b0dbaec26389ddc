//! Gateway keys in the database: made by the command line, used by callers of a running gateway.

use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::{
    Database, MODEL, poll,
    program::{featherwire, run, started},
    prompt,
    rest::http,
};

/// A gateway in front of its emulator, with its keys in `database`.
pub async fn serve(database: &Database, more: &[(&str, &str)]) -> (Child, String) {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    command.env("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "0");
    command.envs(more.iter().copied());
    let (child, address, _) = started(command).await;
    (child, address)
}

/// Ends a gateway in good order.
pub async fn end(mut child: Child) {
    let pid = child.id().unwrap().to_string();
    let kill = tokio::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await;
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// The status and the message of a call with this key.
pub async fn call(address: &str, key: Option<&str>) -> (u16, String) {
    let request = http()
        .post(format!("{address}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(prompt(MODEL, "hi").to_string());
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    (status, message.to_owned())
}

pub async fn until_status(address: &str, key: Option<&str>, status: u16) {
    let what = format!("a call with this key gets {status}");
    poll::until(&what, async || call(address, key).await.0 == status).await;
}

pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap()
}

#[tokio::test]
async fn a_key_works_on_every_gateway_of_its_database_until_it_is_revoked() {
    for database in Database::each().await {
        let (first, second) = tokio::join!(serve(&database, &[]), serve(&database, &[]));
        let addresses = [&first.1, &second.1];
        for address in addresses {
            assert_eq!(call(address, None).await.0, 200, "without keys it is open");
        }
        let key = database.keys_json(&["create", "--name", "app"]).await;
        let (id, secret) = (text(&key, "id"), text(&key, "secret"));
        assert_eq!(text(&key, "name"), "app");
        assert!(secret.starts_with("gw_live_"));
        for address in addresses {
            until_status(address, None, 401).await;
            assert_eq!(call(address, Some(secret)).await.0, 200);
            let chat = ["chat", "hi", "--gateway", address, "--api-key", secret];
            assert_eq!(run(&mut featherwire(&chat)).await.code, Some(0));
            let wrong = call(address, Some(&format!("{secret}x"))).await;
            assert!(wrong.0 == 401 && wrong.1.contains("Unknown"), "{wrong:?}");
        }
        let revoked = database.keys(&["revoke", id]).await;
        assert_eq!(revoked.code, Some(0), "{}", revoked.err);
        for address in addresses {
            until_status(address, Some(secret), 401).await;
            assert!(call(address, Some(secret)).await.1.contains("revoked"));
            assert_eq!(call(address, None).await.0, 401, "it does not open again");
        }
        // Not even for a key that is deleted, while the gateway runs.
        assert_eq!(database.keys(&["delete", "app"]).await.code, Some(0));
        for address in addresses {
            poll::until("the secret is unknown", async || {
                call(address, Some(secret)).await.1.contains("Unknown")
            })
            .await;
            assert_eq!(call(address, None).await.0, 401);
        }
    }
}

#[tokio::test]
async fn a_rotated_secret_is_valid_for_its_grace_and_the_key_stays_the_same() {
    for database in Database::each().await {
        let key = database
            .keys_json(&["create", "--name", "app", "--test"])
            .await;
        let (id, old) = (text(&key, "id"), text(&key, "secret"));
        let (_child, address) = serve(&database, &[]).await;
        assert_eq!(call(&address, Some(old)).await.0, 200);

        let rotated = database.keys_json(&["rotate", id]).await;
        let new = text(&rotated, "secret");
        assert!(new.starts_with("gw_test_") && new != old);
        assert_eq!((text(&rotated, "id"), text(&rotated, "name")), (id, "app"));
        until_status(&address, Some(new), 200).await;
        assert_eq!(call(&address, Some(old)).await.0, 200, "it has a day");
        let secrets = rotated["secrets"].as_array().unwrap();
        assert!(secrets[0]["ends_at"].is_string() && secrets[1]["ends_at"].is_null());
        assert!(old.starts_with(text(&secrets[0], "public_id")));
        assert!(old.ends_with(text(&secrets[0], "last_four")));

        // A leak ends both older secrets at once.
        let last = database
            .keys_json(&["rotate", "app", "--grace", "0s"])
            .await;
        until_status(&address, Some(new), 401).await;
        for ended in [old, new] {
            let (status, message) = call(&address, Some(ended)).await;
            assert!(status == 401 && message.contains("replaced"), "{message}");
        }
        assert_eq!(call(&address, Some(text(&last, "secret"))).await.0, 200);
    }
}

#[tokio::test]
async fn keys_of_the_variable_go_on_beside_those_of_the_database() {
    let database = Database::sqlite();
    let key = database.keys_json(&["create", "--name", "app"]).await;
    let (_child, address) = serve(&database, &[("FEATHERWIRE_API_KEYS", "gw_live_env")]).await;
    for secret in ["gw_live_env", text(&key, "secret")] {
        assert_eq!(call(&address, Some(secret)).await.0, 200);
    }
    assert_eq!(call(&address, None).await.0, 401);
    database.keys(&["revoke", "app"]).await;
    until_status(&address, Some(text(&key, "secret")), 401).await;
    assert_eq!(call(&address, Some("gw_live_env")).await.0, 200);
}

#[tokio::test]
async fn a_key_that_is_disabled_or_expired_is_refused_and_can_come_back() {
    let database = Database::sqlite();
    let key = database.keys_json(&["create", "--name", "app"]).await;
    let secret = Some(text(&key, "secret"));
    let (_child, address) = serve(&database, &[]).await;
    let changes: [(&[&str], u16, &str); 4] = [
        (&["--disable"], 401, "disabled"),
        (&["--enable"], 200, ""),
        (&["--expires", "1ms"], 401, "expired"),
        (&["--clear", "expires"], 200, ""),
    ];
    for (change, status, word) in changes {
        let arguments: Vec<_> = ["update", "app"].iter().chain(change).copied().collect();
        database.keys_json(&arguments).await;
        until_status(&address, secret, status).await;
        assert!(call(&address, secret).await.1.contains(word), "{change:?}");
    }
}

#[tokio::test]
async fn a_gateway_on_all_networks_needs_a_key_of_the_database_or_of_the_variable() {
    let database = Database::sqlite();
    let refused = run(
        featherwire(&["serve", "--emulator", "--listen", "0.0.0.0:0"])
            .env("FEATHERWIRE_DATABASE_URL", &database.url),
    )
    .await;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains("featherwire keys create"),
        "{}",
        refused.err
    );
    database.keys_json(&["create", "--name", "app"]).await;
    let mut command = featherwire(&["serve", "--emulator", "--listen", "0.0.0.0:0"]);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let (_child, address, mut log) = started(command).await;
    assert!(address.starts_with("http://0.0.0.0:"));
    let lines = async {
        while !log
            .recv()
            .await
            .unwrap()
            .contains("must send the gateway key")
        {}
    };
    lines.await;
}

#[tokio::test]
async fn a_key_has_the_settings_that_it_was_given_and_no_output_repeats_its_secret() {
    for database in Database::each().await {
        let create = [
            "create",
            "--name",
            "app",
            "--owner",
            "Ada",
            "--label",
            "team=search",
            "--models",
            "org/*,a/b",
            "--weight",
            "3",
            "--max-units",
            "4",
            "--highest-priority",
            "batch",
            "--requests-per-minute",
            "60",
            "--tokens-per-minute",
            "10000",
            "--budget",
            "tokens=100000/day",
            "--budget",
            "unit-seconds=3600/month",
            "--expires",
            "30d",
        ];
        let key = database.keys_json(&create).await;
        let expected = json!({
            "models": ["org/*", "a/b"],
            "weight": 3,
            "max_units": 4,
            "highest_priority": "batch",
            "requests_per_minute": 60,
            "tokens_per_minute": 10000,
            "budgets": [
                {"of": "tokens", "amount": 100_000, "per": "day"},
                {"of": "unit_seconds", "amount": 3600, "per": "month"},
            ],
        });
        assert_eq!(key["limits"], expected);
        assert_eq!(
            (text(&key, "owner"), text(&key, "role")),
            ("Ada", "inference")
        );
        assert_eq!(key["labels"], json!({"team": "search"}));
        assert!(key["expires_at"].is_string() && key["last_used_at"].is_null());

        let admin = database
            .keys_json(&["create", "--name", "boss", "--admin", "viewer"])
            .await;
        assert!(text(&admin, "secret").starts_with("gw_admin_"));
        assert_eq!(text(&admin, "role"), "viewer");

        let updated = database
            .keys_json(&[
                "update",
                "app",
                "--name",
                "app 2",
                "--budget",
                "tokens=5/day",
                "--clear",
                "models,weight",
            ])
            .await;
        assert_eq!(text(&updated, "name"), "app 2");
        let limits = &updated["limits"];
        assert!(limits["models"].is_null() && limits["weight"].is_null());
        assert_eq!(
            limits["budgets"][1],
            json!({"of": "tokens", "amount": 5, "per": "day"})
        );
        assert_eq!(limits["budgets"].as_array().unwrap().len(), 2);

        let list = database.keys_json(&["list"]).await;
        let names: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|key| text(key, "name"))
            .collect();
        assert_eq!(names, ["app 2", "boss"]);
        let id = text(&key, "id");
        let shown = database.keys_json(&["show", id]).await;
        assert_eq!(shown["limits"], updated["limits"]);

        let secret = text(&key, "secret");
        let hidden = secret.rsplit_once('_').unwrap().1;
        for arguments in [
            &["list"][..],
            &["list", "--json"],
            &["show", id],
            &["show", id, "--json"],
        ] {
            let ended = database.keys(arguments).await;
            assert!(
                ended.code == Some(0) && !ended.out.contains(hidden),
                "{}",
                ended.out
            );
            if arguments[0] == "show" && arguments.len() == 2 {
                let wide = ended.out.lines().find(|line| line.chars().count() > 80);
                assert_eq!(wide, None);
            }
        }
        let files = database.url.strip_prefix("sqlite:");
        for file in files
            .into_iter()
            .flat_map(|path| [path.to_owned(), format!("{path}-wal")])
        {
            let bytes = std::fs::read(file).unwrap_or_default();
            let is_in = |bytes: &[u8]| {
                bytes
                    .windows(hidden.len())
                    .any(|part| part == hidden.as_bytes())
            };
            assert!(!is_in(&bytes), "the database has only the digest");
        }
    }
}

#[tokio::test]
async fn a_secret_alone_is_on_standard_output() {
    let database = Database::sqlite();
    let created = database.keys(&["create", "--name", "app"]).await;
    assert!(created.out.starts_with("gw_live_") && created.out.lines().count() == 1);
    assert!(created.err.contains("not shown again"), "{}", created.err);
    let (_child, address) = serve(&database, &[]).await;
    assert_eq!(call(&address, Some(created.out.trim())).await.0, 200);
}

#[tokio::test]
async fn wrong_input_is_refused_with_a_sentence_and_changes_nothing() {
    for database in Database::each().await {
        for name in ["twin", "twin", "app"] {
            database.keys_json(&["create", "--name", name]).await;
        }
        database.keys(&["revoke", "app"]).await;
        let before = database.keys_json(&["list"]).await;
        let nobody = "018f4e9a-0000-7000-8000-000000000000";
        let cases: [(&[&str], i32, &str); 16] = [
            (&["show", "nobody"], 1, "keys list"),
            (&["revoke", nobody], 1, "keys list"),
            (&["update", nobody, "--name", "x"], 1, "keys list"),
            (&["rotate", nobody], 1, "keys list"),
            (&["delete", nobody], 1, "keys list"),
            (&["revoke", "twin"], 1, "2 keys have the name"),
            (&["rotate", "app"], 1, "revoked"),
            (&["create", "--name", ""], 2, "name: it is empty"),
            (&["create", "--name", "a\nb"], 2, "line break"),
            (
                &["create", "--name", "x", "--budget", "tokens=-5/day"],
                2,
                "from 1 to",
            ),
            (
                &["create", "--name", "x", "--budget", "tokens=5/hour"],
                2,
                "tokens=100000/day",
            ),
            (
                &["create", "--name", "x", "--requests-per-minute", "0"],
                2,
                "at least 1",
            ),
            (
                &["create", "--name", "x", "--weight", "5000"],
                2,
                "1 to 1000",
            ),
            (
                &["create", "--name", "x", "--models", "org/[a]"],
                2,
                "cannot occur",
            ),
            (
                &["create", "--name", "x", "--expires", "soon"],
                2,
                "such as 30d",
            ),
            (
                &["create", "--name", "x", "--admin", "admin", "--weight", "2"],
                2,
                "calls no model",
            ),
        ];
        for (arguments, code, words) in cases {
            let ended = database.keys(arguments).await;
            assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.err);
            assert!(ended.err.contains(words), "{arguments:?}: {}", ended.err);
            assert_eq!(ended.out, "", "{arguments:?}");
        }
        assert_eq!(database.keys_json(&["list"]).await, before);
    }
}

#[tokio::test]
async fn the_last_use_of_a_key_is_recorded_at_the_latest_when_the_gateway_ends() {
    let database = Database::sqlite();
    let key = database.keys_json(&["create", "--name", "app"]).await;
    let (child, address) = serve(&database, &[]).await;
    assert_eq!(call(&address, Some(text(&key, "secret"))).await.0, 200);
    end(child).await;
    let shown = database.keys_json(&["show", "app"]).await;
    assert!(shown["last_used_at"].is_string(), "{shown}");
}
