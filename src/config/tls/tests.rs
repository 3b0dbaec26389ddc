use std::path::Path;

use super::*;

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn pair() -> Tls {
    Tls {
        tls_cert: path("c"),
        tls_key: path("k"),
        ..Tls::default()
    }
}

const LOOPBACK: Option<IsLoopback> = Some(IsLoopback(true));

#[test]
fn a_certificate_is_recognised_by_its_common_name_or_an_alternative_name() {
    let parsed = |text| certificate_key(text).map(|parsed| (parsed.certificate, parsed.key));
    for (text, certificate, key) in [
        (
            "cn:App 1=a",
            CertificateName::CommonName("App 1".into()),
            "a",
        ),
        (
            " DNS:App.Example = b ",
            CertificateName::Dns("app.example".into()),
            "b",
        ),
        (
            "uri:spiffe://a/b?x=y=team a",
            CertificateName::Uri("spiffe://a/b?x=y".into()),
            "team a",
        ),
    ] {
        assert_eq!(parsed(text), Ok((certificate, key.to_owned())), "{text}");
    }
    for (text, problem) in [
        ("cn:a", "= and the name of a key"),
        ("cn:a=", "after the ="),
        ("a=b", "recognised by"),
        ("cn:=b", "in the certificate is missing"),
        ("ou:a=b", "cn, dns or uri"),
    ] {
        let message = certificate_key(text).unwrap_err();
        assert!(
            message.contains(problem) && message.contains("such as"),
            "{text}: {message}"
        );
    }
}

#[test]
fn the_administration_has_the_tls_of_all_callers_unless_it_has_its_own() {
    let mut tls = pair();
    tls.tls_client_ca = path("ca");
    tls.tls_client_cert_optional = true;
    assert_eq!(tls.of_administration(), tls.of_callers());
    tls.admin_tls_client_ca = path("admin-ca");
    let files = tls.of_administration().unwrap();
    assert_eq!(files.cert.path, Path::new("c"));
    assert_eq!(files.client_ca.unwrap().path, Path::new("admin-ca"));
    assert!(!files.is_client_cert_optional, "only --listen");
    (tls.admin_tls_cert, tls.admin_tls_key) = (path("ac"), path("ak"));
    tls.admin_tls_client_ca = None;
    let files = tls.of_administration().unwrap();
    assert_eq!(
        (files.cert.flag, files.client_ca),
        ("--admin-tls-cert", None)
    );
    let plain = Tls {
        admin_without_tls: true,
        ..pair()
    };
    assert_eq!(plain.of_administration(), None);
    assert_eq!(plain.check(LOOPBACK), Ok(()));
}

#[test]
fn options_without_an_effect_are_refused_with_the_one_that_is_missing() {
    let key = |text| vec![certificate_key(text).unwrap()];
    let with = |change: &dyn Fn(&mut Tls), listen| {
        let mut tls = pair();
        change(&mut tls);
        tls.check(listen).unwrap_err()
    };
    type Change<'c> = &'c dyn Fn(&mut Tls);
    let cases: [(Change<'_>, Option<IsLoopback>, &str); 11] = [
        (
            &|tls| tls.tls_key = None,
            None,
            "FEATHERWIRE_TLS_KEY (--tls-key)",
        ),
        (
            &|tls| tls.tls_cert = None,
            None,
            "FEATHERWIRE_TLS_CERT (--tls-cert)",
        ),
        (
            &|tls| tls.admin_tls_key = path("k"),
            LOOPBACK,
            "FEATHERWIRE_ADMIN_TLS_CERT (--admin-tls-cert)",
        ),
        (
            &|tls| {
                *tls = Tls::default();
                tls.tls_client_ca = path("ca");
            },
            None,
            "set FEATHERWIRE_TLS_CERT",
        ),
        (
            &|tls| tls.tls_client_cert_optional = true,
            None,
            "set FEATHERWIRE_TLS_CLIENT_CA",
        ),
        (
            &|tls| tls.tls_client_keys = key("cn:a=b"),
            None,
            "set FEATHERWIRE_TLS_CLIENT_CA",
        ),
        (
            &|tls| tls.admin_without_tls = true,
            None,
            "set FEATHERWIRE_ADMIN_LISTEN",
        ),
        (
            &|tls| {
                tls.admin_without_tls = true;
                tls.admin_tls_client_ca = path("ca");
            },
            LOOPBACK,
            "contradicts",
        ),
        (
            &|tls| tls.admin_without_tls = true,
            Some(IsLoopback(false)),
            "needs a loopback address",
        ),
        (
            &|tls| {
                *tls = Tls::default();
                tls.admin_tls_client_ca = path("ca");
            },
            LOOPBACK,
            "set FEATHERWIRE_ADMIN_TLS_CERT",
        ),
        (
            &|tls| tls.admin_tls_client_keys = key("cn:a=b"),
            LOOPBACK,
            "set FEATHERWIRE_ADMIN_TLS_CLIENT_CA",
        ),
    ];
    for (change, listen, problem) in cases {
        let message = with(change, listen);
        assert!(message.contains(problem), "{problem}: {message}");
    }
}
