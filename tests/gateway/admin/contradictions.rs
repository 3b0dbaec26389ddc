//! Commands for keys whose arguments contradict each other or the key.

use super::{command_line::keys, keys::start};
use crate::{
    keys::text,
    support::{
        Database,
        program::{Folder, featherwire, run},
    },
};

#[tokio::test]
async fn a_revoked_key_is_not_enabled_in_the_database_or_at_a_gateway() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    database.keys_json(&["create", "--name", "app"]).await;
    database.keys_json(&["revoke", "app"]).await;
    let enable = ["update", "app", "--enable"];
    let here = database.keys(&enable).await;
    let there = keys(&admin.address, admin.key.as_deref(), &enable).await;
    for refused in [here, there] {
        assert_eq!(
            (refused.code, &*refused.out),
            (Some(1), ""),
            "{}",
            refused.err
        );
        assert!(
            refused.err.contains("was revoked, which is for ever"),
            "{}",
            refused.err
        );
    }
    let renamed = ["update", "app", "--name", "old"];
    let renamed = database.keys_json(&renamed).await;
    assert_eq!(text(&renamed, "state"), "revoked");
}

#[tokio::test]
async fn arguments_that_contradict_each_other_change_nothing() {
    let database = Database::sqlite();
    let create = [
        "create",
        "--name",
        "app",
        "--budget",
        "tokens=9/day",
        "--owner",
        "Ada",
    ];
    database.keys_json(&create).await;
    let before = database.keys_json(&["show", "app"]).await;
    let cases: [(&[&str], &str); 5] = [
        (
            &[
                "update",
                "app",
                "--budget",
                "tokens=5/day",
                "--clear",
                "budgets",
            ],
            "budgets is in --clear, and another option sets it",
        ),
        (
            &["update", "app", "--clear", "labels,owner", "--owner", "B"],
            "owner is in --clear",
        ),
        (
            &["rotate", "app", "--grace", "-1s"],
            "expected a time with its unit, such as 24h",
        ),
        (
            &["update", "app", "--expires", "2020-01-01"],
            "this time has passed",
        ),
        (
            &["update", "app", "--expires", "2020-13-01"],
            "such as 2030-01-31 or",
        ),
    ];
    for (arguments, words) in cases {
        let refused = database.keys(arguments).await;
        assert_eq!(
            (refused.code, &*refused.out),
            (Some(2), ""),
            "{}",
            refused.err
        );
        assert!(
            refused.err.contains(words),
            "{arguments:?}: {}",
            refused.err
        );
        assert!(!refused.err.contains("tip:"), "{}", refused.err);
    }
    assert_eq!(database.keys_json(&["show", "app"]).await, before);
    let future = run(&mut featherwire(&["usage", "--since", "2200-01-01"])).await;
    assert!(
        future.code == Some(2) && future.err.contains("--since must be in the past"),
        "{}",
        future.err
    );
}

#[tokio::test]
async fn an_empty_admin_key_is_none() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let none = keys(&admin.address, Some(""), &["list"]).await;
    assert!(
        none.code == Some(1) && none.err.contains("there is no admin key"),
        "{}",
        none.err
    );
}

#[tokio::test]
async fn help_has_its_full_stops_and_an_option_under_its_heading() {
    let help = run(&mut featherwire(&["--help"])).await.out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("on one port. Each option"), "{help}");
    assert!(help.contains("arguments are wrong. Usage:"), "{help}");
    let revoke = run(&mut featherwire(&["keys", "revoke", "--help"]))
        .await
        .out;
    let (options, _) = revoke.split_once("Database").unwrap();
    assert!(options.contains("--cut-calls"), "{revoke}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_that_may_not_be_read_is_not_called_missing() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let folder = Folder::new();
    let closed = folder.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let url = format!("sqlite:{}/fw.db", closed.display());
    let mut list = featherwire(&["keys", "list", "--database-url", &url]);
    if fs::read_dir(&closed).is_ok() {
        // The tests run as root, who may read everything.
        list.uid(65_534);
    }
    let refused = run(&mut list).await;
    assert_eq!((refused.code, &*refused.out), (Some(1), ""));
    assert!(
        !refused.err.contains("there is no database"),
        "{}",
        refused.err
    );
    assert!(
        refused.err.contains("as the user who owns it"),
        "{}",
        refused.err
    );
}
