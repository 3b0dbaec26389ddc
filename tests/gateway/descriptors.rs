//! A gateway that runs out of file descriptors: it reports that in its answers and once in its log,
//! and recovers.

use std::process::Stdio;

use featherwire::emulator::EmulatorConfig;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};

use crate::support::{Emulator, MODEL, PATIENCE, poll, prompt, rest::http};

/// A gateway under these limits, and its log.
async fn serve(
    limits: &str,
    emulator: &Emulator,
) -> (Child, String, Lines<BufReader<ChildStderr>>) {
    let script = format!("{limits}; exec \"$0\" serve --listen 127.0.0.1:0");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_featherwire")]);
    command
        .env_clear()
        .env("FEATHERWIRE_DATABASE_URL", "sqlite::memory:")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
        .env("FEATHERLESS_API_KEY", "any")
        .env("FEATHERWIRE_UNITS", "0")
        .env("FEATHERWIRE_RETRIES", "1");
    command.env(
        "FEATHERLESS_BASE_URL",
        format!("http://{}/v1", emulator.address),
    );
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = log.next_line().await.unwrap().unwrap();
    let address = first
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"))
        .unwrap()
        .to_owned();
    (child, address, log)
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_limit() {
    let emulator = Emulator::start().await;
    let (child, address, _log) = serve("ulimit -S -n 100; ulimit -H -n 300", &emulator).await;
    assert_eq!(
        http()
            .get(format!("http://{address}/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(),
        ["300", "300"],
        "{line}"
    );
}

/// Asks for an answer over this connection.
async fn chat(stream: &mut TcpStream) -> (u16, String, Value) {
    let body = prompt(MODEL, "hi").to_string();
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        let text = String::from_utf8(answer.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_str(body) {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, head.to_owned(), body);
        }
    }
}

#[tokio::test]
async fn a_lack_of_descriptors_is_reported_logged_once_and_temporary() {
    let emulator = Emulator::with(EmulatorConfig {
        tokens_per_second: 0.0,
        ..EmulatorConfig::default()
    })
    .await;
    let (mut child, address, mut log) = serve("ulimit -n 60", &emulator).await;
    // More than would open the model's circuit. They call at the same time, because the gateway
    // closes the connections of the flood after a while, and that frees descriptors.
    let mut callers = Vec::new();
    for _ in 0..7 {
        callers.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut lines = Vec::new();
    let until_told = async {
        while !lines
            .last()
            .is_some_and(|line: &String| line.contains("out of file descriptors"))
        {
            lines.push(log.next_line().await.unwrap().unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, until_told)
        .await
        .expect("the log tells of it");
    assert!(
        lines.last().unwrap().contains("60") && lines.last().unwrap().contains("LimitNOFILE"),
        "{lines:?}"
    );
    let refused = futures_util::future::join_all(callers.iter_mut().map(chat)).await;
    for (status, head, body) in refused {
        assert_eq!(
            (status, body["error"]["code"].as_str()),
            (503, Some("out_of_file_descriptors")),
            "{body}"
        );
        assert!(
            head.contains("retry-after") && !body.to_string().contains("network"),
            "{head} {body}"
        );
    }
    let mut caller = callers.pop().unwrap();
    drop(flood);
    poll::until("it recovers", async || {
        let (status, _, body) = chat(&mut caller).await;
        let code = &body["error"]["code"];
        assert!(
            status == 200 || code == "out_of_file_descriptors",
            "no open circuit: {body}"
        );
        status == 200
    })
    .await;
    child.kill().await.unwrap();
    while let Some(line) = log.next_line().await.unwrap() {
        lines.push(line);
    }
    let count = lines
        .iter()
        .filter(|line| line.contains("out of file descriptors") || line.contains("open files"))
        .count();
    assert_eq!(count, 1, "{lines:?}");
}
