//! `serve` with TLS: what it refuses to start with, and how it takes over new files.

use tokio::{process::Command, time::timeout};

use crate::support::{
    PATIENCE,
    certificates::{Authority, Credentials, DAY_SECONDS, Files},
    program::{Log, featherwire, run, started},
};

fn serve(options: &[(&str, &str)]) -> Command {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    for (flag, value) in options {
        command.arg(flag);
        if !value.is_empty() {
            command.arg(value);
        }
    }
    command
}

/// Waits for a line of the log with this text.
pub async fn line_with(log: &mut Log, text: &str) -> String {
    loop {
        let line = log.recv().await.expect("the gateway runs");
        if line.contains(text) {
            return line;
        }
    }
}

#[tokio::test]
async fn files_that_are_not_usable_are_refused_with_a_sentence() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let other = authority.server("other");
    let write = |name: &str, content: &str| files.write(name, content).display().to_string();
    let (cert, key) = (
        files.path("tls.crt").display().to_string(),
        files.path("tls.key").display().to_string(),
    );
    let other_key = write("other.key", &other.key);
    let ca = write("ca.crt", &authority.pem);
    let empty = write("empty.pem", "");
    let cut = write("cut.pem", other.cert.split_at(200).0);
    let no_der = write(
        "no-der.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let encrypted = write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let folder = files.folder().display().to_string();
    let pair = [("--tls-cert", cert.as_str()), ("--tls-key", key.as_str())];
    let with = |more: &[(&'static str, &str)]| {
        let all = pair.iter().chain(more);
        all.map(|(flag, value)| (*flag, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let only = |options: &[(&'static str, &str)]| {
        let all = options.iter();
        all.map(|(flag, value)| (*flag, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let cases = [
        (
            only(&[("--tls-cert", &cert)]),
            "set FEATHERWIRE_TLS_KEY (--tls-key)",
        ),
        (
            only(&[("--tls-key", &key)]),
            "set FEATHERWIRE_TLS_CERT (--tls-cert)",
        ),
        (
            only(&[("--tls-client-ca", &cert)]),
            "set FEATHERWIRE_TLS_CERT (--tls-cert)",
        ),
        (
            only(&[("--tls-cert", "/nowhere"), ("--tls-key", &key)]),
            "--tls-cert) does not exist",
        ),
        (
            only(&[("--tls-cert", &folder), ("--tls-key", &key)]),
            "is a directory",
        ),
        (
            only(&[("--tls-cert", &empty), ("--tls-key", &key)]),
            "there is no certificate in",
        ),
        (
            only(&[("--tls-cert", &key), ("--tls-key", &cert)]),
            "are two options exchanged?",
        ),
        (
            only(&[("--tls-cert", &cut), ("--tls-key", &key)]),
            "has no -----END line",
        ),
        (
            only(&[("--tls-cert", &no_der), ("--tls-key", &key)]),
            "cannot be read",
        ),
        (
            only(&[("--tls-cert", &cert), ("--tls-key", &empty)]),
            "there is no private key in",
        ),
        (
            only(&[("--tls-cert", &cert), ("--tls-key", &cert)]),
            "It has a certificate",
        ),
        (
            only(&[("--tls-cert", &cert), ("--tls-key", &encrypted)]),
            "is encrypted",
        ),
        (
            only(&[("--tls-cert", &cert), ("--tls-key", &other_key)]),
            "does not belong to",
        ),
        (
            with(&[("--tls-client-ca", &empty)]),
            "there is no certificate in",
        ),
        (with(&[("--tls-client-ca", &no_der)]), "cannot be read"),
        (with(&[("--tls-client-ca", &cert)]), "CN=gateway in "),
        (
            with(&[("--tls-client-cert-optional", "")]),
            "set FEATHERWIRE_TLS_CLIENT_CA",
        ),
        (
            with(&[("--tls-client-keys", "cn:a=b")]),
            "set FEATHERWIRE_TLS_CLIENT_CA",
        ),
        (
            with(&[("--admin-without-tls", "")]),
            "set FEATHERWIRE_ADMIN_LISTEN",
        ),
        // Certificates alone do not open the gateway to other machines.
        (
            with(&[("--tls-client-ca", &ca), ("--listen", "0.0.0.0:0")]),
            "without gateway keys",
        ),
    ];
    for (options, problem) in cases {
        let options: Vec<_> = options
            .iter()
            .map(|(flag, value)| (*flag, value.as_str()))
            .collect();
        let mut command = featherwire(&["serve", "--emulator"]);
        if !options.iter().any(|(flag, _)| *flag == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for (flag, value) in &options {
            command.arg(flag).args((!value.is_empty()).then_some(value));
        }
        let ended = run(&mut command).await;
        // A listener that others reach needs keys: that is a wrong argument.
        let is_listen = options.iter().any(|(flag, _)| *flag == "--listen");
        let code = if is_listen { 2 } else { 1 };
        assert_eq!(ended.code, Some(code), "{options:?}");
        assert!(ended.err.contains(problem), "{options:?}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(
            !ended.err.contains("MII"),
            "no content of files: {}",
            ended.err
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_takes_over_new_files_and_problems_are_logged_once() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("first"));
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let pair = [
        ("--tls-cert", cert.to_str().unwrap()),
        ("--tls-key", key.to_str().unwrap()),
    ];
    let (child, address, mut log) = started(serve(&pair)).await;
    let pid = child.id().unwrap().to_string();
    let hang_up = async || {
        let kill = Command::new("kill").args(["-HUP", &pid]).status().await;
        assert!(kill.unwrap().success());
    };
    files.write("tls.crt", "");
    hang_up().await;
    let line = line_with(&mut log, "previous ones stay in use").await;
    assert!(line.contains("there is no certificate in"), "{line}");
    let get =
        async |caller: &Credentials| caller.http().get(format!("{address}/healthz")).send().await;
    assert!(get(&authority.trusted()).await.is_ok());
    let next = Authority::new();
    files.write_pair(&next.server("second"));
    hang_up().await;
    let line = line_with(&mut log, "are in use for new connections").await;
    assert!(line.contains("CN=second"), "{line}");
    assert!(get(&next.trusted()).await.is_ok());
    assert!(get(&authority.trusted()).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_takes_over_the_files_of_both_listeners_or_of_none() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("first"));
    let admin = authority.server("admin-first");
    files.write("admin.crt", &admin.cert);
    files.write("admin.key", &admin.key);
    let paths = ["tls.crt", "tls.key", "admin.crt", "admin.key"].map(|name| files.path(name));
    let [cert, key, admin_cert, admin_key] = paths.each_ref().map(|path| path.to_str().unwrap());
    let (child, address, mut log) = started(serve(&[
        ("--tls-cert", cert),
        ("--tls-key", key),
        ("--admin-listen", "127.0.0.1:0"),
        ("--admin-tls-cert", admin_cert),
        ("--admin-tls-key", admin_key),
    ]))
    .await;
    let pid = child.id().unwrap().to_string();
    let hang_up = async || {
        let kill = Command::new("kill").args(["-HUP", &pid]).status().await;
        assert!(kill.unwrap().success());
    };
    let next = Authority::new();
    let is_first = async || {
        let get = |caller: Credentials| caller.http().get(format!("{address}/healthz")).send();
        let (first, next) = (get(authority.trusted()).await, get(next.trusted()).await);
        assert_ne!(first.is_ok(), next.is_ok());
        first.is_ok()
    };
    files.write_pair(&next.server("second"));
    files.write("admin.crt", "");
    hang_up().await;
    line_with(&mut log, "so nothing changes").await;
    assert!(is_first().await, "the good pair waits for the other one");
    let admin = next.server("admin-second");
    files.write("admin.crt", &admin.cert);
    files.write("admin.key", &admin.key);
    hang_up().await;
    for subject in ["CN=second", "CN=admin-second"] {
        let line = line_with(&mut log, "are in use for new connections").await;
        assert!(line.contains(subject), "{line}");
    }
    assert!(!is_first().await);
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_in_place_of_a_file_is_refused_and_does_not_keep_the_process() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("first"));
    let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
    let pair = [
        ("--tls-cert", cert.to_str().unwrap()),
        ("--tls-key", key.to_str().unwrap()),
    ];
    let (mut child, address, mut log) = started(serve(&pair)).await;
    std::fs::remove_file(&cert).unwrap();
    let made = Command::new("mkfifo").arg(&cert).status().await;
    assert!(made.unwrap().success());
    let pid = child.id().unwrap().to_string();
    let signal = async |name: &str| {
        let kill = Command::new("kill").args([name, &pid]).status().await;
        assert!(kill.unwrap().success());
    };
    signal("-HUP").await;
    let line = timeout(PATIENCE, line_with(&mut log, "previous ones stay in use")).await;
    let line = line.expect("the pipe is not waited for");
    assert!(line.contains("is not a regular file"), "{line}");
    let get = authority.trusted().http().get(format!("{address}/healthz"));
    assert_eq!(get.send().await.unwrap().status(), 200);
    signal("-TERM").await;
    let ended = timeout(PATIENCE, child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_end_of_a_certificate_is_warned_of_at_the_start() {
    let authority = Authority::new();
    for (days, problem) in [(1, "has expired"), (10, "expires soon"), (30, "")] {
        let valid = std::time::Duration::from_secs(days * DAY_SECONDS);
        let files = Files::of(&authority.server_until("gateway", valid));
        let (cert, key) = (files.path("tls.crt"), files.path("tls.key"));
        let pair = [
            ("--tls-cert", cert.to_str().unwrap()),
            ("--tls-key", key.to_str().unwrap()),
            ("--log", "debug"),
        ];
        let (child, address, mut log) = started(serve(&pair)).await;
        if problem.is_empty() {
            let client = authority.trusted().http();
            let get = client.get(format!("{address}/healthz")).send().await;
            assert_eq!(get.unwrap().status(), 200);
            drop(child);
            while let Some(line) = log.recv().await {
                assert!(!line.contains("a certificate in use"), "{line}");
            }
            continue;
        }
        let line = line_with(&mut log, problem).await;
        assert!(
            line.contains("CN=gateway") && line.contains("tls.crt"),
            "{line}"
        );
        assert_eq!(line.contains("ERROR"), days == 1, "{line}");
    }
}
