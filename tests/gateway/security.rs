//! `SECURITY.md`: each promise names existing tests. The promises that no other file tests are
//! tested here.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio};

use serde_json::json;
use tokio::{io::AsyncReadExt, process::Command};

use crate::support::{
    MODEL, Reply, Scripted, rest::post, scripted::chunk, scripted::finish, scripted::whole,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(&path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// The rows of the tables of promises: the promise, and its tests.
fn promises() -> Vec<(String, String)> {
    let text = read("SECURITY.md");
    let part = text
        .split("\n## ")
        .find(|part| part.starts_with("What is promised"))
        .unwrap();
    let rows = part.lines().filter_map(|line| {
        line.strip_prefix("| ")?
            .strip_suffix(" |")?
            .split_once(" | ")
    });
    let rows = rows.filter(|(promise, _)| *promise != "promise");
    rows.map(|(promise, held_by)| (promise.to_owned(), held_by.to_owned()))
        .collect()
}

/// The attacks of the siege, by their names in its table.
fn attacks() -> BTreeSet<String> {
    let table = read("examples/siege/attacks.rs");
    let names = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("attack!(\"")?.split_once('"'));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn is_test(name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    let text = read(format!("tests/gateway/{file}.rs"));
    // A function counts only with a test attribute before it.
    ["#[tokio::test", "#[test"]
        .iter()
        .flat_map(|attribute| text.split(attribute).skip(1))
        .any(|part| {
            let function = part
                .lines()
                .find_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
            function.is_some_and(|function| function.starts_with(&format!("{test}()")))
        })
}

#[test]
fn every_promise_names_an_existing_test() {
    let (promises, attacks) = (promises(), attacks());
    assert!(
        promises.len() > 20 && attacks.len() > 15,
        "{} and {}",
        promises.len(),
        attacks.len()
    );
    let mut tried = BTreeSet::new();
    for (promise, held_by) in promises {
        let tests: Vec<_> = held_by.split('`').skip(1).step_by(2).collect();
        for test in &tests {
            assert!(is_test(test), "{promise}: there is no test {test}");
        }
        let rest: String = held_by.split('`').step_by(2).collect();
        let named: Vec<_> = rest.split("siege: ").skip(1).map(str::trim).collect();
        assert!(
            !tests.is_empty() || !named.is_empty(),
            "{promise}: no test or attack checks it"
        );
        for name in named {
            assert!(
                name == "every attack" || attacks.contains(name),
                "{promise}: there is no attack {name:?}"
            );
            tried.insert(name.to_owned());
        }
    }
    let unlisted: Vec<_> = attacks
        .iter()
        .filter(|attack| !tried.contains(*attack))
        .collect();
    assert!(
        unlisted.is_empty(),
        "attacks without a promise: {unlisted:?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn no_key_prompt_or_answer_is_in_any_log_line() {
    const SECRETS: [&str; 4] = [
        "gw_live_callerssecret",
        "upstreamssecret",
        "promptssecret",
        "answerssecret",
    ];
    let upstream = Scripted::first([
        Reply::Json(200, whole(SECRETS[3])),
        Reply::Events(vec![chunk(SECRETS[3]), finish()]),
        Reply::EventsThenCut(vec![chunk(SECRETS[3])]),
        Reply::Json(400, json!({"error": {"message": SECRETS[3]}})),
        Reply::Json(500, json!({"error": {"message": SECRETS[3]}})),
        Reply::Raw(
            "200 OK\r\ncontent-type: application/json".to_owned(),
            format!("{{\"{}", SECRETS[3]).into_bytes(),
        ),
        Reply::HangUp,
    ])
    .await;
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_featherwire"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--units",
            "0",
            "--retries",
            "0",
            "--log",
            "trace",
        ])
        .env_clear()
        .env("FEATHERWIRE_DATABASE_URL", "sqlite::memory:")
        .env(
            "FEATHERLESS_BASE_URL",
            format!("http://{}/v1", upstream.address),
        )
        .env("FEATHERLESS_API_KEY", SECRETS[1])
        .env("FEATHERWIRE_API_KEYS", SECRETS[0])
        .current_dir(std::env::temp_dir())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = gateway.stderr.take().unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("/docs") {
        assert!(log.read_buf(&mut text).await.unwrap() > 0, "it starts");
    }
    let log_text = String::from_utf8_lossy(&text).into_owned();
    let address = log_text
        .split_whitespace()
        .find(|word| word.starts_with("http://127.0.0.1:"))
        .unwrap();
    for (number, key) in [SECRETS[0]; 7]
        .into_iter()
        .chain(["gw_live_promptssecret"])
        .enumerate()
    {
        let body = json!({
            "model": MODEL, "stream": number == 1 || number == 2,
            "messages": [{"role": "user", "content": SECRETS[2]}],
        });
        let url = format!("{address}/v1/chat/completions?x={}", SECRETS[2]);
        let post = post(url, body.to_string()).bearer_auth(key);
        let _ = post.send().await.unwrap().bytes().await;
    }
    let pid = gateway.id().unwrap().to_string();
    Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await
        .unwrap();
    log.read_to_end(&mut text).await.unwrap();
    let log = String::from_utf8_lossy(&text);
    assert!(
        log.contains("call ended") && log.contains("failed"),
        "calls are logged: {log}"
    );
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
    assert_eq!(upstream.requests().len(), 7);
}
