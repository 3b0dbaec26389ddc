//! The settings of the commands: flags, variables of the environment and `.env`, and the errors for
//! bad ones.

use crate::support::{
    Emulator, Gateway, PATIENCE, Reply, Scripted,
    program::{Folder, featherwire, run},
};

/// The variables in a command's help.
async fn variables_of_help(command: &str) -> Vec<String> {
    let help = run(&mut featherwire(&[command, "--help"])).await.out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    help.split("[env: ")
        .skip(1)
        .map(|part| part.split(['=', ']']).next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_emulators_help_has_no_keys_and_every_fault() {
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

#[tokio::test]
async fn an_error_about_a_bad_value_names_its_variable_its_flag_and_an_example_but_not_the_value() {
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
                "FEATHERWIRE_CHAT_HISTORY",
                "FEATHERWIRE_CONFIG",
                "FEATHERWIRE_DATA_DIR",
                "FEATHERWIRE_MODEL",
                "OTEL_SERVICE_NAME",
            ];
            // Paths. `secured::startup` has what is wrong with them.
            let is_path = (variable.contains("TLS") || variable.contains("GATEWAY"))
                && ["_CERT", "_KEY", "_CA"]
                    .iter()
                    .any(|end| variable.ends_with(end));
            if is_text.contains(&variable) || is_path {
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
async fn a_warning_about_a_misspelt_variable_names_the_right_one() {
    // Without keys the command is refused after the warnings, so it ends.
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
    for expected in [
        "warning: FEATHERWIRE_LISTN is not a variable of Featherwire and has no effect: did you \
         mean FEATHERWIRE_LISTEN?",
        "warning: FEATHERWIRE_NOTHING is not a variable",
        "warning: this command does not read FEATHERWIRE_API_KEY: did you mean \
         FEATHERWIRE_API_KEYS?",
        "warning: .env line 3: FEATHERLESS_APIKEY is not a variable",
        "did you mean FEATHERLESS_API_KEY?",
    ] {
        assert!(serve.err.contains(expected), "{expected}\n{}", serve.err);
    }
    assert_eq!(serve.err.matches("warning").count(), 4, "{}", serve.err);
    assert!(!serve.err.contains("secret"), "{}", serve.err);

    // A variable of another command is not a misspelling.
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
async fn an_error_about_an_ambiguous_line_of_dotenv_has_its_number_and_a_fix() {
    for (line, code, expected) in [
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
        // An invalid address ends the command if nothing else does.
        let serve =
            run(featherwire(&["serve", "--listen", "nowhere"]).current_dir(&folder.0)).await;
        assert_eq!(serve.code, Some(code), "{line}: {}", serve.err);
        assert!(
            serve.err.contains(".env line 2: FEATHERLESS_API_KEY: "),
            "{line}: {}",
            serve.err
        );
        assert!(
            serve.err.contains(expected) && !serve.err.contains("secret"),
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

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_as_dotenv_is_an_error_and_no_wait() {
    let folder = Folder::new();
    let path = folder.0.join(".env");
    let made = tokio::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.await.unwrap().success());
    let mut command = featherwire(&["check"]);
    let running = run(command.current_dir(&folder.0));
    let check = tokio::time::timeout(PATIENCE, running).await;
    let check = check.expect("nobody writes into the pipe");
    assert!(
        check.code == Some(1)
            && check
                .err
                .contains(".env (in the working directory) is not a"),
        "{}",
        check.err
    );
}

#[tokio::test]
async fn a_quoted_value_of_dotenv_arrives_as_it_is_written() {
    let upstream = Scripted::always(Reply::Json(500, serde_json::json!({}))).await;
    let folder = Folder::with_dotenv(format!(
        "\u{feff}FEATHERLESS_API_KEY='a$b#c\"d\\'\r\nFEATHERLESS_BASE_URL=http://{}/v1\r\n\
         TITLE=My App\r\n",
        upstream.address
    ));
    let check = run(featherwire(&["check", "--retries", "0"]).current_dir(&folder.0)).await;
    let seen = upstream.requests();
    let head = seen
        .first()
        .unwrap_or_else(|| panic!("{}{}", check.out, check.err))
        .head
        .clone();
    assert!(head.contains("Bearer a$b#c\"d\\\r\n"), "{head}");
    assert!(
        check.err.contains("line 3: TITLE: ") && check.err.contains("ignored"),
        "{}",
        check.err
    );
}

#[tokio::test]
async fn an_address_without_a_scheme_is_accepted_if_clear_and_refused_if_not() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let bare = gateway.url("").replace("http://", "");
    let models = run(&mut featherwire(&["models", "--gateway", &bare])).await;
    assert_eq!(models.code, Some(0), "{}", models.err);
    for (command, flag, value, expected) in [
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
        (
            "chat",
            "--gateway",
            "http://localhost:8000/v1",
            "remove the path",
        ),
    ] {
        let bad = run(&mut featherwire(&[command, flag, value])).await;
        assert_eq!(bad.code, Some(2), "{value}: {}", bad.err);
        assert!(
            bad.err.contains(expected) && bad.err.contains(flag) && !bad.err.contains("secret"),
            "{value}: {}",
            bad.err
        );
    }
}
