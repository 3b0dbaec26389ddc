use super::*;
use crate::clock::now;
use crate::keys::{KeySettings, Role};

fn directory(secrets: &[&str], weights: &[u32]) -> Directory {
    let secrets: Vec<_> = secrets.iter().map(|key| SecretString::from(*key)).collect();
    Directory::new(&secrets, weights)
}

fn key(name: &str) -> Key {
    Key {
        id: Uuid::now_v7(),
        role: Role::Inference,
        settings: KeySettings::named(name),
        created_at: 0,
        revoked_at: None,
        calls_cut_at: None,
        last_used_at: None,
        secrets: Vec::new(),
    }
}

/// Changes of these keys.
fn changed(changed: Vec<(Key, Vec<DigestUntil>)>) -> Changes {
    Changes {
        changed,
        ..Changes::default()
    }
}

fn deleted(key: &Key) -> Changes {
    Changes {
        deleted: vec![key.id],
        ..Changes::default()
    }
}

fn digest(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

/// The name behind a secret.
fn name(directory: &Directory, secret: &str) -> Result<Option<String>, Ended> {
    let found = directory.find(secret.as_bytes())?;
    assert_eq!(directory.accepts(secret.as_bytes()), found.is_some());
    Ok(found.map(|identity| identity.name().to_owned()))
}

#[test]
fn keys_of_the_variable_are_identities_in_their_order() {
    let directory = directory(&["gw_a", "gw_b", "gw_a", "gw_c"], &[3]);
    let found = |secret: &str| {
        let identity = directory.find(secret.as_bytes()).unwrap()?;
        Some((
            identity.name().to_owned(),
            identity.number(),
            identity.weight(),
        ))
    };
    assert_eq!(found("gw_a"), Some(("env-1".to_owned(), 0, 3)));
    assert_eq!(found("gw_b"), Some(("env-2".to_owned(), 1, 1)));
    assert_eq!(found("gw_c"), Some(("env-4".to_owned(), 3, 1)));
    for unknown in ["", "gw_", "gw_A", "gw_a ", "gw_ab"] {
        assert_eq!(found(unknown), None, "{unknown:?}");
    }
    assert!(directory.everyone(Purpose::Models).is_none());
    assert_eq!(directory.valid_keys(), 3);
}

#[test]
fn a_gateway_that_had_a_key_does_not_open_again() {
    let directory = directory(&[], &[]);
    let key = key("app");
    assert!(directory.is_open() && name(&directory, "").unwrap().is_none());
    directory.apply(Changes::default());
    assert!(directory.is_open());
    directory.apply(changed(vec![(key.clone(), vec![(digest("s"), None)])]));
    assert!(!directory.is_open());
    directory.apply(deleted(&key));
    assert!(!directory.is_open());
    assert_eq!(name(&directory, "s"), Ok(None));
}

#[test]
fn a_key_keeps_its_number_when_its_settings_change() {
    let directory = directory(&["gw_a"], &[]);
    let (first, second) = (key("first"), key("second"));
    let number = |secret: &str| {
        let found = directory.find(secret.as_bytes()).unwrap();
        found.map(|identity| identity.number())
    };
    directory.apply(changed(vec![(first.clone(), vec![(digest("1"), None)])]));
    assert_eq!((number("gw_a"), number("1")), (Some(0), Some(1)));
    directory.apply(changed(vec![(second, vec![(digest("2"), None)])]));
    assert_eq!((number("1"), number("2")), (Some(1), Some(2)));
    let mut renamed = first.clone();
    renamed.settings.name = "renamed".to_owned();
    let secrets = vec![(digest("1"), None), (digest("1b"), None)];
    directory.apply(changed(vec![(renamed, secrets)]));
    assert_eq!(
        (number("1"), number("1b"), number("2")),
        (Some(1), Some(1), Some(2))
    );
    assert_eq!(name(&directory, "1b").unwrap().as_deref(), Some("renamed"));
    assert_eq!(directory.valid_keys(), 3);
    directory.apply(deleted(&first));
    directory.apply(changed(vec![(key("third"), vec![(digest("3"), None)])]));
    assert_eq!(
        (number("1"), number("2"), number("3")),
        (None, Some(2), Some(3))
    );
}

#[test]
fn an_ended_secret_says_why() {
    let directory = directory(&[], &[]);
    let (past, future) = (now() - 1, now() + 3_600_000);
    let with = |change: fn(&mut Key), at: UnixMs| {
        let mut key = key("app");
        change(&mut key);
        if key.settings.expires_at.is_some() {
            key.settings.expires_at = Some(at);
        }
        key
    };
    let expiring = |at| with(|key| key.settings.expires_at = Some(0), at);
    directory.apply(changed(vec![
        (
            with(|_| {}, 0),
            vec![(digest("good"), None), (digest("old"), Some(past))],
        ),
        (with(|_| {}, 0), vec![(digest("grace"), Some(future))]),
        (expiring(past), vec![(digest("expired"), None)]),
        (expiring(future), vec![(digest("expires"), None)]),
        (
            with(|key| key.revoked_at = Some(1), 0),
            vec![(digest("revoked"), Some(past))],
        ),
        (
            with(|key| key.settings.disabled_at = Some(1), 0),
            vec![(digest("off"), None)],
        ),
    ]));
    for good in ["good", "grace", "expires"] {
        assert_eq!(
            name(&directory, good).unwrap().as_deref(),
            Some("app"),
            "{good}"
        );
    }
    for (secret, ended) in [
        ("old", Ended::Rotated),
        ("expired", Ended::Expired),
        ("revoked", Ended::Revoked),
        ("off", Ended::Disabled),
    ] {
        assert_eq!(directory.find(secret.as_bytes()).unwrap_err(), ended);
        assert!(!directory.accepts(secret.as_bytes()));
    }
}

#[test]
fn used_keys_are_told_once() {
    let directory = directory(&["gw_a"], &[]);
    let key = key("app");
    directory.apply(changed(vec![(key.clone(), vec![(digest("s"), None)])]));
    for secret in ["gw_a", "s", "s"] {
        let found = directory.find(secret.as_bytes()).unwrap().unwrap();
        found.record_use();
    }
    let used: Vec<_> = directory.take_used().iter().map(Identity::id).collect();
    assert_eq!(used, [Some(key.id)]);
    assert!(directory.take_used().is_empty());
}

#[test]
fn only_valid_keys_for_calls_of_models_make_several_callers() {
    let directory = directory(&["gw_a"], &[]);
    assert!(!directory.has_several_callers());
    let mut admin = key("admin");
    admin.role = Role::Admin;
    directory.apply(changed(vec![(admin, vec![(digest("1"), None)])]));
    assert!(!directory.has_several_callers());
    let mut other = key("other");
    directory.apply(changed(vec![(other.clone(), vec![(digest("2"), None)])]));
    assert!(directory.has_several_callers());
    other.revoked_at = Some(1);
    directory.apply(changed(vec![(other, vec![(digest("2"), None)])]));
    assert!(!directory.has_several_callers());

    // Two secrets of one key.
    let directory = super::Directory::new(&[], &[]);
    let secrets = vec![(digest("3"), None), (digest("4"), None)];
    directory.apply(changed(vec![(key("app"), secrets)]));
    assert!(!directory.has_several_callers());
}
