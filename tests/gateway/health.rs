//! `featherwire health`, the probe of a container.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use crate::support::{
    Emulator, Gateway, PATIENCE, Reply, Scripted,
    certificates::{Authority, Files},
    program::{Ended, featherwire, run},
};

async fn health(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = featherwire(&["health"]);
    command.args(arguments).envs(variables.iter().copied());
    let ended = timeout(PATIENCE, run(&mut command)).await;
    let ended = ended.expect("the command ends by itself");
    let lines = format!("{}{}", ended.out, ended.err);
    assert_eq!(lines.lines().count(), 1, "one line: {lines}");
    ended
}

#[tokio::test]
async fn health_finds_the_gateway_at_the_address_that_the_gateway_is_told() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (url, port) = (gateway.url(""), gateway.address.port());
    let everywhere = format!("0.0.0.0:{port}");
    let (everywhere, url) = (everywhere.as_str(), url.as_str());
    for (arguments, variables) in [
        (vec!["--gateway", url], vec![]),
        (vec![], vec![("FEATHERWIRE_GATEWAY", url)]),
        (vec![], vec![("FEATHERWIRE_LISTEN", everywhere)]),
        // The flag wins.
        (
            vec!["--gateway", url],
            vec![("FEATHERWIRE_LISTEN", "127.0.0.1:9")],
        ),
    ] {
        let ended = health(&arguments, &variables).await;
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(0), "ready\n"),
            "{arguments:?} {variables:?}: {}",
            ended.err
        );
    }
    let alive = health(&["--live", "--gateway", url], &[]).await;
    assert_eq!((alive.code, alive.out.as_str()), (Some(0), "ok\n"));
}

#[tokio::test]
async fn health_fails_with_the_reason_while_the_gateway_takes_no_calls() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.featherless_api_key = None;
    })
    .await;
    let url = gateway.url("");
    let unready = health(&["--gateway", &url], &[]).await;
    assert_eq!((unready.code, unready.out.as_str()), (Some(1), ""));
    assert!(
        unready.err.contains("503") && unready.err.contains("FEATHERLESS_API_KEY"),
        "{}",
        unready.err
    );
    let alive = health(&["--gateway", &url, "--live"], &[]).await;
    assert_eq!(alive.code, Some(0), "{}", alive.err);
    assert_eq!(upstream.connections(), 0, "Featherless is not asked");
}

#[tokio::test]
async fn health_fails_where_no_gateway_answers_and_waits_only_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = health(&["--gateway", &address], &[]).await;
    assert_eq!(silent.code, Some(1));
    assert!(silent.err.contains("within 3 seconds"), "{}", silent.err);

    // The connection of the first command comes first.
    drop(listener.accept().await.unwrap());
    for (answer, expected) in [
        (&b"220 mail\r\n"[..], "no answer"),
        (
            b"HTTP/1.1 404 No\r\ncontent-length: 9\r\n\r\n\x1b[2Jother",
            "404: [2Jother",
        ),
    ] {
        let other_program = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream
        };
        let arguments = ["--gateway", &address];
        let (ended, _stream) = tokio::join!(health(&arguments, &[]), other_program);
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains(expected), "{:?}", ended.err);
        assert!(!ended.err.contains('\x1b'), "{:?}", ended.err);
    }

    drop(listener);
    let nobody = health(&[], &[("FEATHERWIRE_LISTEN", &address)]).await;
    assert_eq!(nobody.code, Some(1));
    let expected = format!("no gateway at http://{address}");
    assert!(nobody.err.contains(&expected), "{}", nobody.err);
    let everywhere = address.replace("127.0.0.1", "[::]");
    let nobody = health(&[], &[("FEATHERWIRE_LISTEN", &everywhere)]).await;
    assert!(nobody.err.contains("http://[::1]:"), "{}", nobody.err);
}

#[tokio::test]
async fn health_asks_its_own_gateway_by_tls_and_verifies_one_that_is_named() {
    let upstream = Scripted::always(Reply::Silence).await;
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let secured = Gateway::with(upstream.address, |config| config.tls = files.options()).await;
    let (own, named) = (
        secured.address.to_string(),
        format!("https://{}", secured.address),
    );
    let cert = files.path("tls.crt").display().to_string();
    let ca = files.write("ca.crt", &authority.pem).display().to_string();
    let tls = [
        ("FEATHERWIRE_LISTEN", &*own),
        ("FEATHERWIRE_TLS_CERT", &*cert),
    ];
    for (arguments, variables) in [
        // By an address that the certificate need not have.
        (vec![], tls.to_vec()),
        (vec!["--gateway", &*named, "--gateway-ca", &*ca], vec![]),
    ] {
        let ended = health(&arguments, &variables).await;
        let (code, out) = (ended.code, ended.out.as_str());
        assert_eq!((code, out), (Some(0), "ready\n"), "{}", ended.err);
    }
    let stranger = health(&["--gateway", &named], &[]).await;
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.err.contains("--gateway-ca"), "{}", stranger.err);

    // The administration's listener comes first.
    let gateway = Gateway::to(upstream.address).await;
    let plain = gateway.address.to_string();
    let mut variables = tls.to_vec();
    variables.push(("FEATHERWIRE_ADMIN_LISTEN", &plain));
    let with_tls = health(&[], &variables).await;
    assert!(with_tls.err.contains("TLS"), "{}", with_tls.err);
    variables.push(("FEATHERWIRE_ADMIN_WITHOUT_TLS", "true"));
    assert_eq!(health(&[], &variables).await.out, "ready\n");
}
