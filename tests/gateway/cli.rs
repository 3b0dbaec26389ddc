//! The commands, run as a user runs them.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{Emulator, Gateway, Reply, Scripted, gateway::http, scripted::chunk};

/// The command, in an empty environment and an empty folder.
fn featherwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featherwire"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
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
    let address = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

#[tokio::test]
async fn one_command_serves_the_emulator_and_others_talk_to_it() {
    let (mut server, address) = serve(&["--emulator", "--tokens-per-second", "0"]).await;
    let chat = run(&mut featherwire(&["chat", "Say hello in 5 words", "--gateway", &address])).await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
    assert_eq!(chat.out.split_whitespace().count(), 5, "{}", chat.out);

    let models = run(&mut featherwire(&["models", "--search", "gemma", "--gateway", &address])).await;
    assert_eq!(models.code, Some(0));
    assert!(models.out.lines().count() == 4 && models.out.contains("google/gemma-2-27b-it"), "{}", models.out);

    let cut = run(&mut featherwire(&["chat", "hi", "--model", "emulator/cut-after-5", "--gateway", &address])).await;
    assert_eq!(cut.code, Some(1), "a cut stream is no answer: {}", cut.out);
    assert!(cut.err.contains("upstream_stream_cut"), "{}", cut.err);

    let unknown = run(&mut featherwire(&["chat", "hi", "--model", "no/model", "--gateway", &address])).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("model_not_found"), "{}", unknown.err);

    let pid = server.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(server.wait().await.unwrap().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_ended_in_words_and_the_exit_code_tells() {
    let (mut server, address) = serve(&["--emulator", "--drain-timeout", "100ms"]).await;
    let mut chat = featherwire(&["chat", "hi", "--model", "emulator/stall-after-5", "--gateway", &address]);
    let mut chat = chat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    chat.stdout.as_mut().unwrap().read_exact(&mut first).await.unwrap();
    let pid = server.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let chat = chat.wait_with_output().await.unwrap();
    let err = String::from_utf8(chat.stderr).unwrap();
    assert!(chat.status.code() == Some(1) && err.contains("draining"), "{err}");
    assert_eq!(server.wait().await.unwrap().code(), Some(1));
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let (mut server, address) = serve(&["--emulator", "--drain-timeout", "1h"]).await;
    let mut chat = featherwire(&["chat", "hi", "--model", "emulator/stall-after-5", "--gateway", &address]);
    let mut chat = chat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    chat.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
    let pid = server.id().unwrap().to_string();
    let signal = async || assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    signal().await;
    // The first signal is known to have come when the server says so.
    while !matches!(http().get(format!("{address}/readyz")).send().await, Ok(said) if said.status() == 503) {
        tokio::task::yield_now().await;
    }
    signal().await;
    assert_eq!(server.wait().await.unwrap().code(), Some(130));
    assert_eq!(chat.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_proxy_of_the_environment_does_not_come_between_gateway_and_emulator() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("http_proxy", "http://127.0.0.1:9").env("FEATHERWIRE_EMULATOR", "1");
    let (_server, address) = started(command).await;
    let chat = run(&mut featherwire(&["chat", "hi", "--gateway", &address])).await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
}

#[tokio::test]
async fn chat_takes_its_prompt_from_standard_input_and_its_key_from_the_environment() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| config.api_keys = vec!["gw_live_1".into()]).await;
    let address = gateway.url("");
    let file = std::env::temp_dir().join(format!("featherwire-prompt-{}", std::process::id()));
    std::fs::write(&file, "repeat after me: from a file").unwrap();
    let stdin = || Stdio::from(std::fs::File::open(&file).unwrap());
    let chat = run(featherwire(&["chat", "--gateway", &address])
        .env("FEATHERWIRE_API_KEYS", "gw_live_1,other")
        .stdin(stdin()))
    .await;
    assert_eq!((chat.code, chat.out.as_str()), (Some(0), "from a file\n"), "{}", chat.err);
    let refused = run(featherwire(&["chat", "--gateway", &address]).stdin(stdin())).await;
    assert!(refused.code == Some(1) && refused.err.contains("invalid_api_key"), "{}", refused.err);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn check_tells_what_works() {
    let emulator = Emulator::start().await;
    let url = format!("http://{}/v1", emulator.address);
    let check =
        run(featherwire(&["check"]).env("FEATHERLESS_API_KEY", "fl-secret").env("FEATHERLESS_BASE_URL", &url)).await;
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
        ("fl-1", "emulator/401", "featherless_api_key_rejected", "FEATHERLESS_API_KEY"),
        ("fl-1", "emulator/no-plan-access", "plan_without_api_access", "change the plan"),
        ("fl-1", "emulator/gated", "model_gated", "accept its licence"),
        ("fl-1", "emulator/cold", "model_not_ready", "try again later"),
        ("fl-1", "no/model", "model_not_found", "case-sensitive"),
        ("fl-1", "emulator/slow-headers", "first_token_timeout", "longer timeout"),
        ("", "any/model", "featherless_api_key_not_configured", "set FEATHERLESS_API_KEY"),
    ];
    for (key, model, code, mend) in cases {
        let mut command = featherwire(&["check", "--model", model, "--first-token-timeout", "300ms"]);
        let check = run(command.env("FEATHERLESS_API_KEY", key).env("FEATHERLESS_BASE_URL", &url)).await;
        assert_eq!(check.code, Some(1), "{model}: {}", check.out);
        assert!(check.out.contains(code) && check.out.contains(mend), "{model}: {}", check.out);
    }
    let upstream = Scripted::always(Reply::EventsThenCut(vec![chunk("half")])).await;
    let url = format!("http://{}/v1", upstream.address);
    let check = run(featherwire(&["check"]).env("FEATHERLESS_API_KEY", "k").env("FEATHERLESS_BASE_URL", url)).await;
    assert!(check.code == Some(1) && check.out.contains("upstream_stream_cut"), "{}", check.out);
}

#[tokio::test]
async fn serve_refuses_what_it_should_not_serve_and_says_how_to_mend_it() {
    let open = run(&mut featherwire(&["serve", "--listen", "0.0.0.0:0", "--emulator"])).await;
    assert_eq!(open.code, Some(1));
    assert!(open.err.contains("FEATHERWIRE_API_KEYS") && open.err.contains("127.0.0.1"), "{}", open.err);
    assert_eq!(open.err.lines().count(), 1, "one line: {}", open.err);
    let bad = run(featherwire(&["serve"]).env("FEATHERWIRE_API_KEYS", "gw_live_1,,gw_live_2")).await;
    assert!(bad.code == Some(1) && bad.err.contains("empty key"), "{}", bad.err);
    assert!(!bad.err.contains("gw_live_1"), "{}", bad.err);
    for arguments in [
        ["--idle-timeout", "0s"],
        ["--listen", "nowhere"],
        ["--max-request-bytes", "much"],
        ["--featherless-base-url", "ftp://x"],
        ["--featherless-base-url", "http://user:password@x/v1"],
    ] {
        assert_eq!(run(&mut featherwire(&["serve", arguments[0], arguments[1]])).await.code, Some(2), "{arguments:?}");
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = run(&mut featherwire(&["serve", "--listen", &address])).await;
    assert!(busy.code == Some(1) && busy.err.contains("--listen"), "{}", busy.err);
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
    let check = run(featherwire(&["check"]).current_dir(&folder).env("FEATHERLESS_API_KEY", "")).await;
    assert!(check.out.contains("featherless_api_key_not_configured"), "{}", check.out);
    std::fs::write(folder.join(".env"), "FEATHERLESS_API_KEY='unclosed-secret\n").unwrap();
    let bad = run(featherwire(&["check"]).current_dir(&folder)).await;
    assert!(bad.code == Some(1) && bad.err.contains(".env") && !bad.err.contains("unclosed-secret"), "{}", bad.err);
    std::fs::remove_dir_all(folder).unwrap();
}
