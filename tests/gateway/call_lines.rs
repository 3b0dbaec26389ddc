//! The log of the program: one line for each call, which values from outside cannot break, and
//! which no call waits for.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::Child,
};

use crate::support::{
    MODEL, Scripted, poll,
    program::{Log, featherwire, line_with, run, serve_with_log, started},
    prompt,
    rest::{http, post},
    scripted::no_capacity,
};

/// The next line about a call.
async fn call_line(log: &mut Log) -> String {
    let is_call = |line: &str| line.contains(" call ") || line.contains("\"message\":\"call\"");
    line_with(log, is_call).await
}

async fn chat(address: &str, request: &Value) {
    let request = post(
        format!("{address}/v1/chat/completions"),
        request.to_string(),
    );
    let answer = request.header("x-request-id", "id-7").send().await.unwrap();
    answer.text().await.unwrap();
}

#[tokio::test]
async fn a_call_is_one_line_with_its_model_times_tokens_and_id() {
    let (_child, address, mut log) = serve_with_log(&["--emulator", "--log-format", "json"]).await;
    let models = http().get(format!("{address}/v1/models")).send().await;
    models.unwrap();
    let line: Value = serde_json::from_str(&call_line(&mut log).await).unwrap();
    assert_eq!(line["rpc"], "ListModels");
    for is_stream in [false, true] {
        let mut request = prompt(MODEL, "a secret prompt");
        request["stream"] = is_stream.into();
        request["max_tokens"] = 5.into();
        chat(&address, &request).await;
        let line = call_line(&mut log).await;
        assert!(!line.contains("secret"), "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        let rpc = match is_stream {
            true => "StreamChatCompletion",
            false => "CreateChatCompletion",
        };
        for (name, value) in [
            ("level", json!("INFO")),
            ("target", json!("featherwire::calls")),
            ("method", json!("POST")),
            ("path", Value::Null),
            ("door", json!("rest")),
            ("rpc", json!(rpc)),
            ("key", json!("everyone")),
            ("model", json!(MODEL)),
            ("end", json!("finished")),
            ("status", json!(200)),
            ("code", Value::Null),
            ("completion_tokens", json!(5)),
            ("attempts", Value::Null),
            ("upstream_id", Value::Null),
            ("id", json!("id-7")),
        ] {
            assert_eq!(line[name], value, "{name}: {line}");
        }
        for number in ["duration_ms", "waited_ms", "prompt_tokens"] {
            assert!(line[number].is_u64(), "{number}: {line}");
        }
        assert_eq!(line["first_token_ms"].is_u64(), is_stream, "{line}");
    }
    // A failure has its status and its code. Probes have no line.
    for path in ["/healthz", "/readyz", "/metrics"] {
        http().get(format!("{address}{path}")).send().await.unwrap();
    }
    chat(&address, &prompt("no/such-model", "hi")).await;
    let line: Value = serde_json::from_str(&call_line(&mut log).await).unwrap();
    let told = (&line["end"], &line["status"], &line["code"], &line["model"]);
    let code = json!("model_not_found");
    assert_eq!(told, (&json!("failed"), &json!(404), &code, &Value::Null));
}

#[tokio::test]
async fn a_retry_is_a_line_with_its_number_and_its_wait_in_milliseconds() {
    let upstream = Scripted::always(no_capacity()).await;
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command
        .args(["--units", "0", "--retries", "1", "--retry-wait", "30ms"])
        .env(
            "FEATHERLESS_BASE_URL",
            format!("http://{}/v1", upstream.address),
        )
        .env("FEATHERLESS_API_KEY", "fl-1");
    let (_child, address, mut log) = started(command).await;
    chat(&address, &prompt(MODEL, "hi")).await;
    let is_retry = |line: &str| line.contains("retrying the upstream request");
    let line = line_with(&mut log, is_retry).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["retries"], &line["code"]),
        (&json!(1), &json!("no_capacity"))
    );
    assert!(
        line["wait_ms"]
            .as_u64()
            .is_some_and(|ms| (1..1000).contains(&ms)),
        "{line}"
    );
}

#[tokio::test]
async fn every_line_of_a_log_in_json_is_an_object() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command
        .args(["--log-format", "json"])
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut messages = Vec::new();
    while !messages
        .iter()
        .any(|message: &String| message.contains("documentation:"))
    {
        let line = lines.next_line().await.unwrap().unwrap();
        let object: Value = serde_json::from_str(&line).expect(&line);
        messages.push(object["message"].as_str().unwrap().to_owned());
    }
    let first = &messages[0];
    assert!(
        first.starts_with("Featherwire ") && first.contains("http://"),
        "{messages:?}"
    );
}

#[tokio::test]
async fn a_status_is_a_number_at_every_door_and_that_of_grpc_has_a_field_of_its_own() {
    let (_child, address, mut log) = serve_with_log(&["--emulator", "--log-format", "json"]).await;
    for (arguments, status) in [
        (&["models"][..], "OK"),
        (&["chat", "--model", "no/such-model", "hi"], "NOT_FOUND"),
    ] {
        run(featherwire(arguments).args(["--gateway", &address])).await;
        let line: Value = serde_json::from_str(&call_line(&mut log).await).unwrap();
        let told = (&line["door"], &line["status"], &line["grpc_status"]);
        assert_eq!(told, (&json!("grpc"), &json!(200), &json!(status)));
    }
    chat(&address, &prompt(MODEL, "hi")).await;
    let line: Value = serde_json::from_str(&call_line(&mut log).await).unwrap();
    assert_eq!(
        (&line["status"], &line["grpc_status"]),
        (&json!(200), &Value::Null)
    );
}

#[tokio::test]
async fn why_a_program_fails_is_a_line_of_its_log() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let open = ["serve", "--emulator", "--listen", "0.0.0.0:0"];
    let busy = ["serve", "--emulator", "--listen", &address];
    for (arguments, code, part) in [(open, 2, "0.0.0.0"), (busy, 1, "another program listens")] {
        let ended = run(featherwire(&arguments).args(["--log-format", "json"])).await;
        assert_eq!(ended.code, Some(code), "{}", ended.err);
        let last: Value = serde_json::from_str(ended.err.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["message"].as_str().unwrap().contains(part), "{last}");
    }
}

#[tokio::test]
async fn the_lines_of_calls_have_a_level_of_their_own() {
    let (mut child, address, mut log) =
        serve_with_log(&["--emulator", "--log", "info,featherwire::calls=off"]).await;
    chat(&address, &prompt(MODEL, "hi")).await;
    child.kill().await.unwrap();
    while let Some(line) = log.recv().await {
        assert!(!line.contains(" call "), "{line}");
    }
}

#[tokio::test]
async fn what_callers_write_is_one_line_without_control_characters() {
    for format in ["text", "json"] {
        let (_child, address, mut log) =
            serve_with_log(&["--emulator", "--log-format", format]).await;
        let host = address.strip_prefix("http://").unwrap();
        let mut sent = 0;
        for (path, id) in [
            ("/a%0Ab%1B%5B31m", "fine"),
            ("/\"quoted\\path\"", "\u{1b}[2J"),
            ("/a;level=ERROR", "x y=z"),
            ("/%E2%80%AE", "\u{9b}31m"),
            ("/long", &"i".repeat(4000)),
            (
                &format!("/{}", "p".repeat(3000)),
                "\"},{\"level\":\"ERROR\"",
            ),
        ] {
            let mut caller = tokio::net::TcpStream::connect(host).await.unwrap();
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"
            );
            caller.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.unwrap();
            // What is not an HTTP request has no call, and no line.
            if answer.starts_with("HTTP/1.1 404") {
                sent += 1;
            }
        }
        assert!(sent >= 4, "{sent}");
        for _ in 0..sent {
            let line = call_line(&mut log).await;
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.len() < 800, "{line}");
            if format == "json" {
                let line: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line["level"], "INFO", "{line}");
                assert!(line["id"].as_str().unwrap().len() <= 128);
            }
        }
    }
}

/// The program, whose standard error is not read, and its address at the loopback address `ip`.
/// Nobody else uses that, so a port that was free stays so.
async fn with_stderr(ip: &str, stderr: Stdio) -> (Child, String) {
    let free = TcpListener::bind((ip, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut command = featherwire(&["serve", "--emulator", "--listen"]);
    command.arg(address.to_string()).stderr(stderr);
    let child = command.spawn().unwrap();
    let address = format!("http://{address}");
    poll::until("the gateway answers", async || {
        let get = http().get(format!("{address}/healthz"));
        get.send().await.is_ok()
    })
    .await;
    (child, address)
}

async fn lost_lines(address: &str) -> u64 {
    let get = http().get(format!("{address}/metrics")).send().await;
    let text = get.unwrap().text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("featherwire_log_lines_lost_total "));
    line.unwrap_or_else(|| panic!("{text}"))
        .parse::<f64>()
        .unwrap() as u64
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_under_the_log_stops_no_call() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (_child, address) = with_stderr("127.7.7.1", full.into()).await;
    chat(&address, &prompt(MODEL, "hi")).await;
    poll::until("the loss is counted", async || {
        lost_lines(&address).await > 0
    })
    .await;
    chat(&address, &prompt(MODEL, "hi")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_of_the_log_who_sleeps_stops_no_call_and_the_loss_is_told() {
    let (mut child, address) = with_stderr("127.7.7.2", Stdio::piped()).await;
    let client = http();
    let url = format!("{address}/{}", "p".repeat(300));
    poll::until("lines are lost", async || {
        for _ in 0..200 {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.status(), 404);
        }
        lost_lines(&address).await > 0
    })
    .await;
    chat(&address, &prompt(MODEL, "hi")).await;
    // The reader wakes up.
    let mut lines = child.stderr.take().unwrap();
    let mut text = Vec::new();
    let told = async {
        let mut part = vec![0; 64 * 1024];
        while !String::from_utf8_lossy(&text).contains("lines of the log were lost") {
            let read = lines.read(&mut part).await.unwrap();
            assert!(read > 0);
            text.extend_from_slice(&part[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .expect("the loss is told");
}
