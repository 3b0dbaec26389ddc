//! Commands that call a gateway with TLS.

use super::keys::Program;
use crate::support::{
    MODEL,
    certificates::Authority,
    program::{featherwire, run},
};

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
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        assert!(ended.out.contains(expected), "{arguments:?}: {}", ended.out);
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
    let port = program.address.rsplit(':').next().unwrap();
    let plain = format!("http://127.0.0.1:{port}");
    let named = format!("https://[::ffff:127.0.0.1]:{port}");
    let empty = write("empty.crt", "");
    let address = program.address.as_str();
    for (gateway, options, problem) in [
        (address, &["--gateway-ca", &cert][..], "not trusted"),
        (address, &["--gateway-ca", &ca], "--gateway-cert"),
        (
            address,
            &["--gateway-ca", "/nowhere"],
            "/nowhere (FEATHERWIRE_GATEWAY_CA, --gateway-ca) does not exist",
        ),
        (
            address,
            &["--gateway-ca", &empty],
            "there is no certificate in",
        ),
        (
            address,
            &["--gateway-ca", &ca, "--gateway-cert", &cert],
            "together with",
        ),
        (
            address,
            &[
                "--gateway-ca",
                &ca,
                "--gateway-cert",
                &cert,
                "--gateway-cert-key",
                &key,
            ],
            "--gateway-cert",
        ),
        (&named, &["--gateway-ca", &ca], "for another name"),
        (&plain, &[], "https://"),
    ] {
        let mut command = featherwire(&["models", "--gateway", gateway]);
        command.args(options).env("SSL_CERT_FILE", &cert);
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(1), "{options:?}: {}", ended.out);
        assert!(ended.err.contains(problem), "{options:?}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
}
