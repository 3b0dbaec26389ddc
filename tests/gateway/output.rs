//! The output of the commands, and their behaviour if the output is closed.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::support::{
    Emulator, Gateway, poll,
    program::{featherwire, run, serve},
    rest::http,
};

/// A pipe whose reading end is closed.
#[cfg(unix)]
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_whose_output_is_closed_ends_quietly() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let url = format!("http://{}/v1", emulator.address);
    let address = gateway.url("");
    for arguments in [
        &["models", "--gateway", &address][..],
        &["chat", "Say", "hello", "--gateway", &address],
        &["units", "--gateway", &address],
        &["units", "--once", "--gateway", &address],
        &[
            "check",
            "--featherless-base-url",
            &url,
            "--featherless-api-key",
            "any",
        ],
        &["--help"],
        &["serve", "--help"],
        &["emulator", "--help"],
        &["--version"],
    ] {
        let mut command = featherwire(arguments);
        let child = command
            .stdout(closed_pipe())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = child.wait_with_output().await.unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {err}");
        assert!(
            !err.contains("panicked") && !err.contains("pipe"),
            "{arguments:?}: {err}"
        );
    }
    emulator.wait_until_idle().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_reader_that_stops_early_gets_whole_lines_and_no_error() {
    let (_server, address) = serve(&[
        "--emulator",
        "--tokens-per-second",
        "0",
        "--emulator-models",
        "5000",
    ])
    .await;
    let mut models = featherwire(&["models", "--limit", "5000", "--gateway", &address]);
    let mut models = models
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(models.stdout.take().unwrap()).lines();
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .starts_with("MODEL")
    );
    drop(lines);
    let ended = models.wait_with_output().await.unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(
        (ended.status.code(), err.as_str()),
        (Some(0), ""),
        "the table is larger than a pipe"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_continues_if_its_log_is_not_read() {
    // The test must know the address beforehand, because it cannot read the log.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut command = featherwire(&["serve", "--emulator", "--listen", &free, "--log", "debug"]);
    let mut server = command
        .stdout(closed_pipe())
        .stderr(closed_pipe())
        .spawn()
        .unwrap();
    let address = format!("http://{free}");
    poll::until("it listens", async || {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
        let ready = http().get(format!("{address}/readyz")).send().await;
        ready.is_ok()
    })
    .await;
    for _ in 0..3 {
        let chat = run(&mut featherwire(&[
            "chat",
            "hi",
            "--max-tokens",
            "1",
            "--gateway",
            &address,
        ]))
        .await;
        assert_eq!(chat.code, Some(0), "{}", chat.err);
    }
    assert!(server.try_wait().unwrap().is_none());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_an_error_and_a_closed_output_is_not() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let address = gateway.url("");
    for arguments in [
        &["models", "--gateway", &address][..],
        &["chat", "hello", "--gateway", &address],
        &["units", "--once", "--gateway", &address],
        &["--help"],
        &["--version"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = featherwire(arguments);
        let ended = command
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .await
            .unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {err}");
        assert!(
            err.contains("the disk is full") && !err.contains("panicked"),
            "{arguments:?}: {err}"
        );

        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                "exec \"$@\" >&-",
                "sh",
                env!("CARGO_BIN_EXE_featherwire"),
            ])
            .args(arguments)
            .env_clear();
        let closed = run(shell.current_dir(std::env::temp_dir()).stdin(Stdio::null())).await;
        assert_eq!(closed.code, Some(0), "{arguments:?}: {}", closed.err);
        assert!(
            !closed.err.contains("panicked"),
            "{arguments:?}: {}",
            closed.err
        );
    }
}

#[tokio::test]
async fn help_is_grouped_and_fits_a_terminal_of_80_columns() {
    let help = run(&mut featherwire(&["serve", "--help"])).await.out;
    for heading in [
        "Listening:",
        "Keys and callers:",
        "Models and fail-over:",
        "Units and queue:",
        "Upstream:",
        "Time-outs:",
        "Emulator:",
        "Logging:",
    ] {
        assert_eq!(
            help.lines().filter(|line| *line == heading).count(),
            1,
            "{heading}\n{help}"
        );
    }
    let ungrouped = help
        .split("Options:")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    assert!(
        !ungrouped.contains("[env:"),
        "every option is in a group: {ungrouped}"
    );
    for command in ["", "serve", "emulator", "check", "chat", "models", "units"] {
        for flag in ["--help", "-h"] {
            let mut help = featherwire(&[]);
            let help = run(help
                .args((!command.is_empty()).then_some(command))
                .arg(flag)
                .env("COLUMNS", "80"))
            .await;
            assert_eq!(help.code, Some(0));
            for line in help.out.lines() {
                assert!(line.chars().count() <= 80, "{command} {flag}: {line}");
            }
        }
    }
    let faults = run(featherwire(&["emulator", "--help"]).env("COLUMNS", "80"))
        .await
        .out;
    let lines: Vec<_> = faults.lines().collect();
    for pair in lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("  emulator/"))
    {
        assert!(
            pair[1].is_empty() || pair[1].starts_with("  "),
            "a broken table: {pair:?}"
        );
    }
}
