//! The commands, run as a user runs them.

use std::process::Stdio;

use tokio::{io::AsyncReadExt, process::Command};

use crate::support::{
    Emulator, Gateway, PATIENCE, Reply, Scripted,
    program::{Folder, featherwire, run, serve, serve_with_log, started},
    scripted::chunk,
};

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
    assert_eq!(
        cut.code,
        Some(1),
        "a cut stream is not an answer: {}",
        cut.out
    );
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
async fn a_call_that_outlasts_the_drain_gets_an_error_and_the_exit_code_is_1() {
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
    let (mut server, address, mut log) =
        serve_with_log(&["--emulator", "--drain-timeout", "1h"]).await;
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
    let is_draining = async { while !log.recv().await.unwrap().contains("draining") {} };
    tokio::time::timeout(PATIENCE, is_draining)
        .await
        .expect("the log says that the first signal has come");
    signal().await;
    assert_eq!(server.wait().await.unwrap().code(), Some(130));
    assert_eq!(chat.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used_for_the_emulator() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("http_proxy", "http://127.0.0.1:9")
        .env("FEATHERWIRE_EMULATOR", "1");
    let (_server, address, _) = started(command).await;
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
async fn check_reports_what_works() {
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
async fn check_names_the_problem_and_the_fix() {
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
    for (key, model, code, fix) in cases {
        // The test does not wait for the silence.
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
            check.out.contains(code) && check.out.contains(fix),
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
async fn serve_refuses_an_unsafe_configuration_and_says_how_to_fix_it() {
    let open = run(&mut featherwire(&[
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--emulator",
    ]))
    .await;
    assert_eq!(open.code, Some(2));
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
        ["--workers", "0"],
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
async fn chat_takes_several_words_and_says_what_to_do_without_any() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let address = gateway.url("");
    for (words, expected) in [
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
            (Some(0), expected),
            "{words:?}: {}",
            chat.err
        );
    }
    let folder = Folder::with_dotenv("");
    let file = folder.0.join("prompt");
    for (content, code, expected) in [
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
                chat.out == expected || chat.err.contains(expected),
                "{dash:?}: {}{}",
                chat.out,
                chat.err
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_command_line_gets_advice_and_exits_with_2() {
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
        own.code == Some(2) && own.err.contains("own fallback"),
        "{}",
        own.err
    );
    // An address that is reserved for documentation. No machine has it.
    for (listen, expected) in [
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
            bad.code != Some(0) && bad.err.contains(expected) && bad.err.contains("--listen"),
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
async fn the_emulator_does_not_use_the_options_of_the_upstream() {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command
        .env("FEATHERLESS_API_KEY", "with a space")
        .env("FEATHERLESS_BASE_URL", "http://127.0.0.1:9/v1");
    let (_server, address, _) = started(command).await;
    let chat = run(&mut featherwire(&["chat", "hi", "--gateway", &address])).await;
    assert_eq!(chat.code, Some(0), "{}", chat.err);
}
