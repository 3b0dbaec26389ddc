//! Commands that call a gateway with TLS.

use tokio::{process::Command, time::timeout};

use super::keys::Program;
use crate::support::{
    Emulator, MODEL, PATIENCE,
    certificates::Authority,
    poll,
    program::{featherwire, run},
};

/// Commands that reach a gateway over HTTP/1.1, as a caller and as an administrator.
const COMMANDS: [&[&str]; 3] = [&["health"], &["models"], &["keys", "list"]];

#[tokio::test]
async fn commands_reach_a_gateway_with_tls() {
    let callers = Authority::new();
    let keys: [&[&str]; 2] = [&["--name", "app"], &["--name", "root", "--admin", "admin"]];
    let options = [
        ("FEATHERWIRE_TLS_CLIENT_KEYS", "cn:app=app"),
        ("FEATHERWIRE_ADMIN_TLS_CLIENT_KEYS", "cn:ops=root"),
        ("FEATHERWIRE_TLS_CLIENT_CERT_OPTIONAL", "true"),
    ];
    let program = Program::with(&keys, &callers, &options).await;
    let files = &program.files;
    let ca = files.write("ca.crt", &program.authority.pem);
    let show = |name: &str| {
        let pair = callers.caller(name, vec![]);
        let cert = files.write(&format!("{name}.crt"), &pair.cert);
        (cert, files.write(&format!("{name}.key"), &pair.key))
    };
    let (app, ops) = (show("app"), show("ops"));
    for (arguments, pair, expected) in [
        (&["chat", "hi"][..], &app, ""),
        (&["models"], &app, MODEL),
        (&["units", "--once"], &app, "of 8"),
        (&["keys", "list"], &ops, "app"),
        (&["usage"], &ops, "app"),
        (&["calls"], &ops, "app"),
    ] {
        let mut command = featherwire(arguments);
        command
            .args(["--gateway", &program.address])
            .env("FEATHERWIRE_GATEWAY_CA", &ca)
            .env("FEATHERWIRE_GATEWAY_CERT", &pair.0)
            .env("FEATHERWIRE_GATEWAY_CERT_KEY", &pair.1)
            .env_remove("FEATHERWIRE_DATABASE_URL");
        // The records of calls are written a moment later.
        poll::until(&format!("{arguments:?} prints {expected:?}"), async || {
            let ended = run(&mut command).await;
            assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
            ended.out.contains(expected)
        })
        .await;
    }
}

#[tokio::test]
async fn an_error_of_tls_is_a_sentence_that_says_what_to_do() {
    let callers = Authority::new();
    let program = Program::with(&[&["--name", "app"]], &callers, &[]).await;
    let files = &program.files;
    let write = |name: &str, content: &str| files.write(name, content).display().to_string();
    let ca = write("ca.crt", &program.authority.pem);
    let strange = Authority::new().caller("app", vec![]);
    let (cert, key) = (write("a.crt", &strange.cert), write("a.key", &strange.key));
    let other_key = write("b.key", &callers.caller("app", vec![]).key);
    let port = program.address.rsplit(':').next().unwrap();
    let plain = format!("http://127.0.0.1:{port}");
    let named = format!("https://[::ffff:127.0.0.1]:{port}");
    let without_tls = Emulator::start().await;
    let without_tls = format!("https://{}", without_tls.address);
    let empty = write("empty.crt", "");
    let address = program.address.as_str();
    let showing = |key| {
        let pair = ["--gateway-cert", &cert, "--gateway-cert-key", key];
        [["--gateway-ca", &ca].as_slice(), &pair].concat()
    };
    let cases = [
        (address, vec!["--gateway-ca", &cert], "that is not trusted"),
        (
            address,
            vec!["--gateway-ca", &ca],
            "requires a certificate: give one (--gateway-cert FILE",
        ),
        (
            address,
            vec!["--gateway-ca", "/nowhere"],
            "/nowhere (FEATHERWIRE_GATEWAY_CA, --gateway-ca) does not exist",
        ),
        (
            address,
            vec!["--gateway-ca", &empty],
            "there is no certificate in",
        ),
        (
            address,
            vec!["--gateway-ca", &ca, "--gateway-cert", &cert],
            "together with",
        ),
        (address, showing(&key), "refuses the connection"),
        (address, showing(&other_key), "does not belong to"),
        (address, showing(&cert), "are two options exchanged?"),
        (&named, vec!["--gateway-ca", &ca], "for another name"),
        (&plain, vec![], "its port speaks TLS: use https://"),
        (&without_tls, vec!["--gateway-ca", &ca], "use http://"),
    ];
    for (gateway, options, problem) in &cases {
        for command in COMMANDS {
            let mut featherwire = featherwire(command);
            featherwire
                .args(["--gateway", gateway])
                .args(options)
                .env_remove("FEATHERWIRE_DATABASE_URL");
            let ended = run(&mut featherwire).await;
            assert_eq!(
                ended.code,
                Some(1),
                "{command:?} {options:?}: {}",
                ended.out
            );
            assert!(
                ended.err.contains(problem),
                "{command:?} {options:?}: {}",
                ended.err
            );
            assert_eq!(ended.err.lines().count(), 1, "{command:?}: {}", ended.err);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_follows_a_symbolic_link_and_does_not_wait_for_a_pipe() {
    let callers = Authority::new();
    let optional = [("FEATHERWIRE_TLS_CLIENT_CERT_OPTIONAL", "true")];
    let program = Program::with(&[&["--name", "app"]], &callers, &optional).await;
    let files = &program.files;
    let ca = files.write("ca.crt", &program.authority.pem);
    let (link, pipe) = (files.path("link.crt"), files.path("pipe.crt"));
    std::os::unix::fs::symlink(&ca, &link).unwrap();
    let made = Command::new("mkfifo").arg(&pipe).status().await;
    assert!(made.unwrap().success());
    for command in COMMANDS {
        let with = |ca| {
            let mut featherwire = featherwire(command);
            featherwire
                .args(["--gateway", &program.address, "--gateway-ca"])
                .arg(ca)
                .env_remove("FEATHERWIRE_DATABASE_URL");
            featherwire
        };
        let ended = timeout(PATIENCE, run(&mut with(&pipe))).await;
        let ended = ended.expect("it does not wait for the pipe");
        assert_eq!(ended.code, Some(1), "{command:?}");
        assert!(ended.err.contains("is not a regular file"), "{}", ended.err);
        let ended = run(&mut with(&link)).await;
        // Without a key, the gateway answers only the probe.
        let is_answered = ended.code == Some(0) || ended.err.contains("key");
        assert!(is_answered, "{command:?}: {}", ended.err);
    }
}
