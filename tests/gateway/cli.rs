//! The commands, run as a user runs them.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{Emulator, Gateway, Reply, Scripted, gateway::http, scripted::chunk};

/// The command, in an empty environment and an empty folder.
pub fn featherwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featherwire"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// `serve` with these arguments, and the address it says it listens on.
async fn serve(arguments: &[&str]) -> (Child, String) {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    started(command).await
}

async fn started(mut command: Command) -> (Child, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let address = first
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap()
        .to_owned();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

#[tokio::test]
async fn one_command_serves_the_emulator_and_others_talk_to_it() {
    let (mut server, address) = serve(&["--emulator", "--tokens-per-second", "0"]).await;
    let chat = run(&mut featherwire(&[
        "chat",
        "Say hello in 5 words",
        "--gateway",
        &address,
    ]))
    .await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
    assert_eq!(chat.out.split_whitespace().count(), 5, "{}", chat.out);

    let models = run(&mut featherwire(&[
        "models",
        "--search",
        "gemma",
        "--gateway",
        &address,
    ]))
    .await;
    assert_eq!(models.code, Some(0));
    assert!(
        models.out.lines().count() == 4 && models.out.contains("google/gemma-2-27b-it"),
        "{}",
        models.out
    );

    let cut = run(&mut featherwire(&[
        "chat",
        "hi",
        "--model",
        "emulator/cut-after-5",
        "--gateway",
        &address,
    ]))
    .await;
    assert_eq!(cut.code, Some(1), "a cut stream is no answer: {}", cut.out);
    assert!(cut.err.contains("upstream_stream_cut"), "{}", cut.err);

    let unknown = run(&mut featherwire(&[
        "chat",
        "hi",
        "--model",
        "no/model",
        "--gateway",
        &address,
    ]))
    .await;
    assert!(
        unknown.code == Some(1) && unknown.err.contains("model_not_found"),
        "{}",
        unknown.err
    );

    let pid = server.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(server.wait().await.unwrap().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_ended_in_words_and_the_exit_code_tells() {
    let (mut server, address) = serve(&["--emulator", "--drain-timeout", "100ms"]).await;
    let mut chat = featherwire(&[
        "chat",
        "hi",
        "--model",
        "emulator/stall-after-5",
        "--gateway",
        &address,
    ]);
    let mut chat = chat
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    chat.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .await
        .unwrap();
    let pid = server.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    let chat = chat.wait_with_output().await.unwrap();
    let err = String::from_utf8(chat.stderr).unwrap();
    assert!(
        chat.status.code() == Some(1) && err.contains("draining"),
        "{err}"
    );
    assert_eq!(server.wait().await.unwrap().code(), Some(1));
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let (mut server, address) = serve(&["--emulator", "--drain-timeout", "1h"]).await;
    let mut chat = featherwire(&[
        "chat",
        "hi",
        "--model",
        "emulator/stall-after-5",
        "--gateway",
        &address,
    ]);
    let mut chat = chat
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .await
        .unwrap();
    let pid = server.id().unwrap().to_string();
    let signal = async || {
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .await
                .unwrap()
                .success()
        )
    };
    signal().await;
    // The first signal is known to have come when the server says so.
    while !matches!(http().get(format!("{address}/readyz")).send().await, Ok(said) if said.status() == 503)
    {
        tokio::task::yield_now().await;
    }
    signal().await;
    assert_eq!(server.wait().await.unwrap().code(), Some(130));
    assert_eq!(chat.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_proxy_of_the_environment_does_not_come_between_gateway_and_emulator() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("http_proxy", "http://127.0.0.1:9")
        .env("FEATHERWIRE_EMULATOR", "1");
    let (_server, address) = started(command).await;
    let chat = run(&mut featherwire(&["chat", "hi", "--gateway", &address])).await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
}

#[tokio::test]
async fn chat_takes_its_prompt_from_standard_input_and_its_key_from_the_environment() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let address = gateway.url("");
    let file = std::env::temp_dir().join(format!("featherwire-prompt-{}", std::process::id()));
    std::fs::write(&file, "repeat after me: from a file").unwrap();
    let stdin = || Stdio::from(std::fs::File::open(&file).unwrap());
    let chat = run(featherwire(&["chat", "--gateway", &address])
        .env("FEATHERWIRE_API_KEYS", "gw_live_1,other")
        .stdin(stdin()))
    .await;
    assert_eq!(
        (chat.code, chat.out.as_str()),
        (Some(0), "from a file\n"),
        "{}",
        chat.err
    );
    let refused = run(featherwire(&["chat", "--gateway", &address]).stdin(stdin())).await;
    assert!(
        refused.code == Some(1) && refused.err.contains("invalid_api_key"),
        "{}",
        refused.err
    );
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn check_tells_what_works() {
    let emulator = Emulator::start().await;
    let url = format!("http://{}/v1", emulator.address);
    let check = run(featherwire(&["check"])
        .env("FEATHERLESS_API_KEY", "fl-secret")
        .env("FEATHERLESS_BASE_URL", &url))
    .await;
    assert_eq!(check.code, Some(0), "{}{}", check.out, check.err);
    for part in ["answer", "usage", "timing", "request"] {
        assert!(check.out.contains(part), "{}", check.out);
    }
    assert!(!check.out.contains("fl-secret") && !check.err.contains("fl-secret"));
}

#[tokio::test]
async fn check_names_the_problem_and_the_mend() {
    let emulator = Emulator::start().await;
    let url = format!("http://{}/v1", emulator.address);
    let cases = [
        (
            "fl-1",
            "emulator/401",
            "featherless_api_key_rejected",
            "FEATHERLESS_API_KEY",
        ),
        (
            "fl-1",
            "emulator/no-plan-access",
            "plan_without_api_access",
            "change the plan",
        ),
        (
            "fl-1",
            "emulator/gated",
            "model_gated",
            "accept its licence",
        ),
        (
            "fl-1",
            "emulator/cold",
            "model_not_ready",
            "try again later",
        ),
        ("fl-1", "no/model", "model_not_found", "case-sensitive"),
        (
            "fl-1",
            "emulator/slow-headers",
            "first_token_timeout",
            "longer timeout",
        ),
        (
            "",
            "any/model",
            "featherless_api_key_not_configured",
            "set FEATHERLESS_API_KEY",
        ),
    ];
    for (key, model, code, mend) in cases {
        // Only the one that is silent is not waited for.
        let patience = if code == "first_token_timeout" {
            "300ms"
        } else {
            "2m"
        };
        let mut command =
            featherwire(&["check", "--model", model, "--first-token-timeout", patience]);
        let check = run(command
            .env("FEATHERLESS_API_KEY", key)
            .env("FEATHERLESS_BASE_URL", &url))
        .await;
        assert_eq!(check.code, Some(1), "{model}: {}", check.out);
        assert!(
            check.out.contains(code) && check.out.contains(mend),
            "{model}: {}",
            check.out
        );
    }
    let upstream = Scripted::always(Reply::EventsThenCut(vec![chunk("half")])).await;
    let url = format!("http://{}/v1", upstream.address);
    let check = run(featherwire(&["check"])
        .env("FEATHERLESS_API_KEY", "k")
        .env("FEATHERLESS_BASE_URL", url))
    .await;
    assert!(
        check.code == Some(1) && check.out.contains("upstream_stream_cut"),
        "{}",
        check.out
    );
}

#[tokio::test]
async fn serve_refuses_what_it_should_not_serve_and_says_how_to_mend_it() {
    let open = run(&mut featherwire(&[
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--emulator",
    ]))
    .await;
    assert_eq!(open.code, Some(1));
    assert!(
        open.err.contains("FEATHERWIRE_API_KEYS") && open.err.contains("127.0.0.1"),
        "{}",
        open.err
    );
    assert_eq!(open.err.lines().count(), 1, "one line: {}", open.err);
    let bad =
        run(featherwire(&["serve"]).env("FEATHERWIRE_API_KEYS", "gw_live_1,,gw_live_2")).await;
    assert!(
        bad.code == Some(1) && bad.err.contains("empty key"),
        "{}",
        bad.err
    );
    assert!(!bad.err.contains("gw_live_1"), "{}", bad.err);
    for arguments in [
        ["--idle-timeout", "0s"],
        ["--listen", "nowhere"],
        ["--max-request-bytes", "much"],
        ["--featherless-base-url", "ftp://x"],
        ["--featherless-base-url", "http://user:password@x/v1"],
    ] {
        assert_eq!(
            run(&mut featherwire(&["serve", arguments[0], arguments[1]]))
                .await
                .code,
            Some(2),
            "{arguments:?}"
        );
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = run(&mut featherwire(&["serve", "--listen", &address])).await;
    assert!(
        busy.code == Some(1) && busy.err.contains("--listen"),
        "{}",
        busy.err
    );
}

#[tokio::test]
async fn keys_are_in_no_help_and_every_fault_is() {
    let secret = "fl-very-secret";
    for command in ["serve", "check", "chat", "models"] {
        let help = run(featherwire(&[command, "--help"])
            .env("FEATHERLESS_API_KEY", secret)
            .env("FEATHERWIRE_API_KEYS", secret))
        .await;
        assert_eq!(help.code, Some(0));
        assert!(!help.out.contains(secret), "{command}: {}", help.out);
    }
    let help = run(&mut featherwire(&["emulator", "--help"])).await.out;
    for fault in featherwire::emulator::FAULTS {
        assert!(help.contains(fault.model), "{}", fault.model);
    }
}

#[tokio::test]
async fn a_dotenv_in_the_working_directory_is_read_and_the_environment_wins() {
    let emulator = Emulator::start().await;
    let folder = std::env::temp_dir().join(format!("featherwire-dotenv-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("http://{}/v1", emulator.address);
    std::fs::write(
        folder.join(".env"),
        format!("# a comment\nFEATHERLESS_API_KEY=from-file\nFEATHERLESS_BASE_URL={url}\n"),
    )
    .unwrap();
    let check = run(featherwire(&["check"]).current_dir(&folder)).await;
    assert_eq!(check.code, Some(0), "{}{}", check.out, check.err);
    let check = run(featherwire(&["check"])
        .current_dir(&folder)
        .env("FEATHERLESS_API_KEY", ""))
    .await;
    assert!(
        check.out.contains("featherless_api_key_not_configured"),
        "{}",
        check.out
    );
    std::fs::write(
        folder.join(".env"),
        "FEATHERLESS_API_KEY='unclosed-secret\n",
    )
    .unwrap();
    let bad = run(featherwire(&["check"]).current_dir(&folder)).await;
    assert!(
        bad.code == Some(1) && bad.err.contains(".env") && !bad.err.contains("unclosed-secret"),
        "{}",
        bad.err
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// A folder of its own, with this `.env` in it. Gone when dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with_dotenv(dotenv: impl AsRef<[u8]>) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("featherwire-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(".env"), dotenv).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pipe that nobody reads any more.
#[cfg(unix)]
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_whose_output_nobody_reads_any_more_ends_quietly() {
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
    emulator.idle().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_reader_that_has_enough_gets_whole_lines_and_no_complaint() {
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
async fn a_server_whose_log_nobody_reads_serves_on() {
    // The address has to be known beforehand: nobody can read it.
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
    while http()
        .get(format!("{address}/readyz"))
        .send()
        .await
        .is_err()
    {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
        tokio::task::yield_now().await;
    }
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
async fn a_full_disk_is_an_error_and_a_closed_output_is_none() {
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
async fn chat_takes_several_words_and_says_what_to_do_without_any() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let address = gateway.url("");
    for (words, said) in [
        (
            &["repeat", "after", "me:", "two", "words"][..],
            "two words\n",
        ),
        (&["repeat after me:", "one two"], "one two\n"),
        (
            &["--", "repeat", "after", "me:", "--dash", "-1"],
            "--dash -1\n",
        ),
    ] {
        let chat = run(featherwire(&["chat", "--gateway", &address]).args(words)).await;
        assert_eq!(
            (chat.code, chat.out.as_str()),
            (Some(0), said),
            "{words:?}: {}",
            chat.err
        );
    }
    let folder = Folder::with_dotenv("");
    let file = folder.0.join("prompt");
    for (content, code, told) in [
        (&b"repeat after me: piped"[..], 0, "piped\n"),
        (b"", 2, "featherwire chat Say hello"),
        (b"caf\xe9", 1, "not UTF-8"),
    ] {
        std::fs::write(&file, content).unwrap();
        for dash in [None, Some("-")] {
            let mut command = featherwire(&["chat", "--gateway", &address]);
            let chat = run(command
                .args(dash)
                .stdin(std::fs::File::open(&file).unwrap()))
            .await;
            assert_eq!(chat.code, Some(code), "{dash:?}: {}", chat.err);
            assert!(
                chat.out == told || chat.err.contains(told),
                "{dash:?}: {}{}",
                chat.out,
                chat.err
            );
        }
    }
}

/// The variables that a command's help names.
async fn variables_of_help(command: &str) -> Vec<String> {
    let help = run(&mut featherwire(&[command, "--help"])).await.out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    help.split("[env: ")
        .skip(1)
        .map(|part| part.split(['=', ']']).next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_bad_value_is_told_with_its_variable_its_flag_and_an_example_and_is_not_repeated() {
    let mut variables = 0;
    for command in ["serve", "emulator", "check", "chat", "models", "units"] {
        for variable in variables_of_help(command).await {
            let variable = variable.as_str();
            let is_text = [
                "FEATHERLESS_API_KEY",
                "FEATHERWIRE_API_KEY",
                "FEATHERWIRE_API_KEYS",
                "FEATHERWIRE_APP_TITLE",
                "FEATHERWIRE_APP_URL",
                "FEATHERWIRE_MODEL",
            ];
            if is_text.contains(&variable) {
                continue;
            }
            let bad = run(featherwire(&[command]).env(variable, "=?bad-secret?=")).await;
            variables += 1;
            assert_eq!(bad.code, Some(2), "{command} {variable}: {}", bad.err);
            assert!(
                bad.err.contains(variable) && bad.err.contains("(--"),
                "{command} {variable}: {}",
                bad.err
            );
            let has_example = bad.err.contains("such as") || bad.err.contains("for example");
            assert!(
                has_example && !bad.err.contains("secret"),
                "{command} {variable}: {}",
                bad.err
            );
        }
    }
    assert!(variables > 30, "{variables}: the help names the variables");

    let log = run(featherwire(&["serve"]).env("FEATHERWIRE_LOG", "foo")).await;
    assert_eq!(log.code, Some(2));
    for part in [
        "FEATHERWIRE_LOG",
        "--log",
        "off, error, warn, info, debug or trace",
        "in the environment",
    ] {
        assert!(log.err.contains(part), "{}", log.err);
    }
    let flag = run(&mut featherwire(&["serve", "--log", "foo"])).await;
    assert!(
        flag.code == Some(2) && flag.err.contains("on the command line"),
        "{}",
        flag.err
    );
    let folder = Folder::with_dotenv("\nFEATHERWIRE_LISTEN=nowhere\n");
    let file = run(featherwire(&["serve"]).current_dir(&folder.0)).await;
    assert!(
        file.code == Some(2) && file.err.contains("in .env line 2"),
        "{}",
        file.err
    );
    assert!(
        file.err.contains("FEATHERWIRE_LISTEN=127.0.0.1:8000"),
        "{}",
        file.err
    );
    let title = run(featherwire(&["serve"]).env("FEATHERWIRE_APP_TITLE", "two\nlines")).await;
    assert!(
        title.code == Some(1) && title.err.contains("FEATHERWIRE_APP_TITLE (--app-title)"),
        "{}",
        title.err
    );
}

#[tokio::test]
async fn a_misspelt_variable_is_told_with_the_one_that_is_meant() {
    // Refused after the warnings, since there are no keys: so it ends.
    let mut command = featherwire(&["serve", "--listen", "0.0.0.0:0"]);
    for name in [
        "FEATHERWIRE_LISTN",
        "FEATHERWIRE_NOTHING",
        "FEATHERWIRE_API_KEY",
        "OTHER",
    ] {
        command.env(name, "secret");
    }
    let folder = Folder::with_dotenv("# ours\n\nFEATHERLESS_APIKEY=secret\n");
    let serve = run(command.current_dir(&folder.0)).await;
    for told in [
        "warning: FEATHERWIRE_LISTN is no variable of Featherwire and has no effect; did you mean \
         FEATHERWIRE_LISTEN?",
        "warning: FEATHERWIRE_NOTHING is no variable",
        "warning: FEATHERWIRE_API_KEY is not read by this command; did you mean \
         FEATHERWIRE_API_KEYS?",
        "warning: .env line 3: FEATHERLESS_APIKEY is no variable",
        "did you mean FEATHERLESS_API_KEY?",
    ] {
        assert!(serve.err.contains(told), "{told}\n{}", serve.err);
    }
    assert_eq!(serve.err.matches("warning").count(), 4, "{}", serve.err);
    assert!(!serve.err.contains("secret"), "{}", serve.err);

    // What every command knows is no slip in any of them.
    let mut known = featherwire(&["units", "--version"]);
    known.env("FEATHERWIRE_API_KEYS", "k");
    for part in variables_of_help("serve").await {
        if part != "FEATHERWIRE_LOG" {
            known.env(part, "");
        }
    }
    assert_eq!(run(&mut known).await.err, "");
}

#[tokio::test]
async fn an_uncertain_line_of_dotenv_is_told_with_its_number_and_how_to_mend_it() {
    for (line, code, told) in [
        ("FEATHERLESS_API_KEY=secret$1", 1, "single quotes"),
        ("FEATHERLESS_API_KEY=secret #1", 2, "single quotes"),
        ("FEATHERLESS_API_KEY=#secret", 2, "single quotes"),
        ("FEATHERLESS_API_KEY='secret", 1, "not closed"),
        ("FEATHERLESS_API_KEY=\"secret$1\"", 1, "single quotes"),
        ("FEATHERLESS_API_KEY", 1, "no `=`"),
        ("FEATHERLESS_API_KEY secret", 1, "no `=`"),
        ("FEATHERLESS_API_KEY = secret", 2, "spaces around"),
        ("export FEATHERLESS_API_KEY=secret", 2, "`export`"),
        ("FEATHERLESS_API_KEY=secret\r", 2, "CR LF"),
    ] {
        let folder = Folder::with_dotenv(format!("# one\n{line}\n"));
        // An address that is none ends the command if nothing else does.
        let serve =
            run(featherwire(&["serve", "--listen", "nowhere"]).current_dir(&folder.0)).await;
        assert_eq!(serve.code, Some(code), "{line}: {}", serve.err);
        assert!(
            serve.err.contains(".env line 2: FEATHERLESS_API_KEY: "),
            "{line}: {}",
            serve.err
        );
        assert!(
            serve.err.contains(told) && !serve.err.contains("secret"),
            "{line}: {}",
            serve.err
        );
    }
    let folder = Folder::with_dotenv(b"# one\nFEATHERLESS_API_KEY=\xff\n");
    let bytes = run(featherwire(&["check"]).current_dir(&folder.0)).await;
    assert!(
        bytes.code == Some(1) && bytes.err.contains(".env line 2: ") && bytes.err.contains("UTF-8"),
        "{}",
        bytes.err
    );

    std::fs::remove_file(folder.0.join(".env")).unwrap();
    std::fs::create_dir(folder.0.join(".env")).unwrap();
    let directory = run(featherwire(&["check"]).current_dir(&folder.0)).await;
    assert!(
        directory.code == Some(1) && directory.err.contains(".env is a directory"),
        "{}",
        directory.err
    );
}

#[tokio::test]
async fn a_quoted_value_of_dotenv_arrives_as_it_is_written() {
    let upstream = Scripted::always(Reply::Json(500, serde_json::json!({}))).await;
    let folder = Folder::with_dotenv(format!(
        "\u{feff}FEATHERLESS_API_KEY='a$b#c\"d\\'\r\nFEATHERLESS_BASE_URL=http://{}/v1\r\\
         nTITLE=My App\r\n",
        upstream.address
    ));
    let check = run(featherwire(&["check", "--retries", "0"]).current_dir(&folder.0)).await;
    let seen = upstream.seen();
    let head = seen
        .first()
        .unwrap_or_else(|| panic!("{}{}", check.out, check.err))
        .head
        .clone();
    assert!(head.contains("Bearer a$b#c\"d\\\r\n"), "{head}");
    assert!(
        check.err.contains("line 3: TITLE: ") && check.err.contains("skipped"),
        "{}",
        check.err
    );
}

#[tokio::test]
async fn an_address_without_its_scheme_is_taken_where_it_is_certain_and_told_where_not() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let bare = gateway.url("").replace("http://", "");
    let models = run(&mut featherwire(&["models", "--gateway", &bare])).await;
    assert_eq!(models.code, Some(0), "{}", models.err);
    for (command, flag, value, told) in [
        (
            "serve",
            "--featherless-base-url",
            "api.featherless.ai/v1",
            "https://api.featherless.ai/v1",
        ),
        (
            "check",
            "--featherless-base-url",
            "https://api.featherless.ai",
            "https://api.featherless.ai/v1",
        ),
        (
            "check",
            "--featherless-base-url",
            "https://me:secret@x/v1",
            "before the @",
        ),
        ("chat", "--gateway", "https://localhost:8000", "plain HTTP"),
        (
            "chat",
            "--gateway",
            "http://localhost:8000/v1",
            "leave out the path",
        ),
    ] {
        let bad = run(&mut featherwire(&[command, flag, value])).await;
        assert_eq!(bad.code, Some(2), "{value}: {}", bad.err);
        assert!(
            bad.err.contains(told) && bad.err.contains(flag) && !bad.err.contains("secret"),
            "{value}: {}",
            bad.err
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
        "every option of ours is in a group: {ungrouped}"
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

#[tokio::test]
async fn what_was_called_wrongly_says_what_to_do_and_exits_with_2() {
    let bare = run(&mut featherwire(&[])).await;
    assert!(
        bare.code == Some(2) && bare.err.contains("Usage: featherwire"),
        "{}",
        bare.err
    );
    let version = run(&mut featherwire(&["--version"])).await;
    assert_eq!(
        (version.code, version.out.as_str()),
        (
            Some(0),
            concat!("featherwire ", env!("CARGO_PKG_VERSION"), "\n")
        )
    );
    let newer = run(&mut featherwire(&["serve", "--telepathy"])).await;
    assert!(
        newer.code == Some(2) && newer.err.contains("newer"),
        "{}",
        newer.err
    );
    let slip = run(&mut featherwire(&["serve", "--listn", "x"])).await;
    assert!(
        slip.code == Some(2) && slip.err.contains("'--listen'"),
        "{}",
        slip.err
    );
    let elsewhere = run(&mut featherwire(&["chat", "hi", "--queue-limit", "1"])).await;
    assert!(
        elsewhere.code == Some(2) && elsewhere.err.contains("`featherwire serve`"),
        "{}",
        elsewhere.err
    );
    let own = run(&mut featherwire(&[
        "serve",
        "--fallback",
        "a=b,a",
        "--listen",
        "0.0.0.0:0",
    ]))
    .await;
    assert!(
        own.code == Some(2) && own.err.contains("own place"),
        "{}",
        own.err
    );
    // A name for documentation alone: no machine has this address.
    for (listen, told) in [
        ("192.0.2.1:0", "no address 192.0.2.1"),
        ("0.0.0.0", "port is missing"),
    ] {
        let bad = run(&mut featherwire(&[
            "serve",
            "--api-keys",
            "k",
            "--listen",
            listen,
        ]))
        .await;
        assert!(
            bad.code != Some(0) && bad.err.contains(told) && bad.err.contains("--listen"),
            "{}",
            bad.err
        );
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "emulator"] {
        let busy = run(&mut featherwire(&[command, "--listen", &address])).await;
        assert!(
            busy.code == Some(1) && busy.err.contains("another program listens"),
            "{}",
            busy.err
        );
    }
}

#[tokio::test]
async fn the_emulator_needs_nothing_of_the_upstream_s_configuration() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command
        .env("FEATHERLESS_API_KEY", "with a space")
        .env("FEATHERLESS_BASE_URL", "http://127.0.0.1:9/v1");
    let (_server, address) = started(command).await;
    let chat = run(&mut featherwire(&["chat", "hi", "--gateway", &address])).await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
}
