//! Certificates that do not hold now: of the gateway, not of its callers.

use std::time::{Duration, SystemTime};

use tokio::process::Command;

use super::{Secured, answering, startup::line_with};
use crate::support::{
    certificates::{Authority, DAY_SECONDS, Files},
    poll,
    program::{featherwire, run, started},
};

const DAY: Duration = Duration::from_secs(DAY_SECONDS);

#[tokio::test]
async fn a_new_pair_is_refused_until_it_holds_and_does_not_replace_one_that_does() {
    let upstream = answering().await;
    let Secured {
        gateway,
        authority,
        files,
    } = Secured::to(upstream.address).await;
    let reload = &gateway.certificates;
    let status = reload.status();
    let subject = || status.certificates()[0].subject.clone();
    let caller = authority.trusted();
    files.write_pair(&authority.server_until("expired", DAY));
    // A look finds it, the next one decides, and those after it say nothing new.
    assert!(reload.look());
    for _ in 0..3 {
        assert!(!reload.look());
        let problem = reload.reload_now().unwrap_err();
        assert!(problem.contains("CN=expired in ") && problem.contains("has expired"));
        assert_eq!(status.reload_failures()["main"], 1);
    }
    assert!(!status.is_ok("main"));
    assert_eq!(subject(), "CN=first");
    assert!(caller.connect(&gateway, &["h2"]).await.is_ok());

    let soon = SystemTime::now() + Duration::from_secs(3);
    files.write_pair(&authority.server_from("soon", soon, DAY));
    let problem = reload.reload_now().unwrap_err();
    assert!(problem.contains("CN=soon in ") && problem.contains("is not valid before"));
    assert!(caller.connect(&gateway, &["h2"]).await.is_ok());
    poll::until("it is used when its time has come", async || {
        reload.look();
        subject() == "CN=soon"
    })
    .await;
    assert_eq!(status.reload_failures()["main"], 2, "once for each content");
    assert!(status.is_ok("main"));
    assert!(caller.connect(&gateway, &["h2"]).await.is_ok());
}

#[tokio::test]
async fn an_expired_pair_that_is_in_use_does_not_keep_new_authorities_of_callers_out() {
    let (authority, callers, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.server_until("old", DAY));
    let upstream = answering().await;
    let gateway = crate::support::Gateway::with(upstream.address, |config| {
        config.tls = files.options_with_client_ca(&callers);
    })
    .await;
    files.write("client-ca.crt", &others.pem);
    assert_eq!(gateway.certificates.reload_now(), Ok(()));
    assert!(gateway.certificates.status().is_ok("main"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_and_a_check_refuse_an_expired_pair_and_a_start_says_that_clients_do() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("first"));
    let with_pair = |arguments: &[&str]| {
        let mut command = featherwire(arguments);
        command
            .env("FEATHERWIRE_TLS_CERT", files.path("tls.crt"))
            .env("FEATHERWIRE_TLS_KEY", files.path("tls.key"));
        command
    };
    const CHECK: &[&str] = &["config", "check", "--emulator"];
    const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0", "--emulator"];
    let checked = run(&mut with_pair(CHECK)).await;
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    let (child, address, mut log) = started(with_pair(SERVE)).await;
    files.write_pair(&authority.server_until("expired", DAY));
    let pid = child.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-HUP", &pid]).status().await;
    assert!(kill.unwrap().success());
    let line = line_with(&mut log, "so nothing changes").await;
    assert!(
        line.contains("ERROR") && line.contains("has expired"),
        "{line}"
    );
    let caller = authority.trusted().http();
    let metrics = caller.get(format!("{address}/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for expected in [
        "featherwire_certificate_reload_ok{listener=\"main\"} 0",
        "featherwire_certificate_reload_failures_total{listener=\"main\"} 1",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    drop(child);

    let later = SystemTime::now() + DAY;
    for (pair, problem, message) in [
        (
            authority.server_until("expired", DAY),
            "has expired",
            "a certificate in use has expired",
        ),
        (
            authority.server_from("later", later, DAY),
            "is not valid before",
            "clients refuse the gateway",
        ),
    ] {
        files.write_pair(&pair);
        let checked = run(&mut with_pair(CHECK)).await;
        assert_eq!((checked.code, checked.out.as_str()), (Some(1), ""));
        assert!(checked.err.contains(problem), "{}", checked.err);
        let (_child, _, mut log) = started(with_pair(SERVE)).await;
        let line = line_with(&mut log, message).await;
        assert!(line.contains("ERROR"), "{line}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_private_key_that_other_users_may_read_is_a_warning() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let files = Files::of(&Authority::new().server("first"));
    let key = files.path("tls.key");
    for (mode, is_told) in [(0o640, false), (0o644, true), (0o602, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        for command in ["check", "serve"] {
            let arguments: &[&str] = match command {
                "check" => &["config", "check", "--emulator"],
                // It ends, because it has no key for callers.
                _ => &["serve", "--emulator", "--listen", "0.0.0.0:0"],
            };
            let mut featherwire = featherwire(arguments);
            featherwire
                .env("FEATHERWIRE_TLS_CERT", files.path("tls.crt"))
                .env("FEATHERWIRE_TLS_KEY", &key);
            let ended = run(&mut featherwire).await;
            let warning = format!("run `chmod o-rw {}`", key.display());
            let is_warned = ended.err.contains("warning: ") && ended.err.contains(&warning);
            assert_eq!(is_warned, is_told, "{command}: {}", ended.err);
        }
    }
}
