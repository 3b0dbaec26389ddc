//! `featherwire keys --gateway`: the command line through a running gateway.

use serde_json::Value;

use super::{doors::infer, keys::start};
use crate::{
    keys::text,
    support::{
        Database,
        program::{Ended, featherwire, run},
    },
};

/// Runs `featherwire keys` with these arguments at a gateway.
async fn keys(gateway: &str, admin: Option<&str>, arguments: &[&str]) -> Ended {
    let mut command = featherwire(&["keys"]);
    command.args(arguments).args(["--gateway", gateway]);
    if let Some(admin) = admin {
        command.env("FEATHERWIRE_ADMIN_KEY", admin);
    }
    run(&mut command).await
}

#[tokio::test]
async fn the_command_line_says_the_same_at_a_gateway_as_at_its_database() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let secret = admin.key.as_deref();
    let at_gateway = async |arguments: &[&str]| {
        let ended = keys(&admin.address, secret, arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        ended.out
    };
    let json = async |arguments: &[&str]| -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&at_gateway(&arguments).await).unwrap()
    };
    let made = json(&[
        "create",
        "--name",
        "app",
        "--test",
        "--owner",
        "Ada",
        "--label",
        "team=search",
        "--models",
        "org/*",
        "--requests-per-minute",
        "60",
        "--budget",
        "tokens=1000/day",
        "--highest-priority",
        "batch",
        "--expires",
        "30d",
    ])
    .await;
    let (id, app) = (text(&made, "id"), text(&made, "secret"));
    assert!(app.starts_with("gw_test_"));
    let same = async |what: &str| {
        for arguments in [&["show", "app"][..], &["list"], &["show", id, "--json"]] {
            let here = database.keys(arguments).await;
            assert_eq!(
                at_gateway(arguments).await,
                here.out,
                "{what}: {arguments:?}"
            );
        }
    };
    same("created").await;
    let updated = json(&[
        "update",
        "app",
        "--weight",
        "3",
        "--clear",
        "models,expires",
        "--disable",
    ])
    .await;
    assert_eq!(
        (&updated["limits"]["weight"], text(&updated, "state")),
        (&3.into(), "disabled")
    );
    same("updated").await;
    json(&["update", "app", "--enable"]).await;
    // A change that changes nothing is no error.
    json(&["update", "app", "--enable"]).await;
    let rotated = json(&["rotate", "app", "--grace", "0s"]).await;
    assert_eq!(text(&rotated, "id"), id);
    assert_eq!(infer(&admin.address, Some(app)).await, 401);
    same("rotated").await;
    at_gateway(&["revoke", id]).await;
    same("revoked").await;
    at_gateway(&["delete", "app"]).await;
    let gone = keys(&admin.address, secret, &["show", "app"]).await;
    let here = database.keys(&["show", "app"]).await;
    assert_eq!((gone.code, &gone.err), (Some(1), &here.err));
}

#[tokio::test]
async fn a_gateway_that_refuses_says_what_to_do() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let refused = keys(&admin.address, None, &["list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("FEATHERWIRE_ADMIN_KEY"),
        "{}",
        refused.err
    );
    let bad = ["create", "--name", "", "--json"];
    let bad = keys(&admin.address, admin.key.as_deref(), &bad).await;
    assert!(
        bad.code == Some(1) && bad.err.contains("name: it is empty"),
        "{}",
        bad.err
    );
    let both = ["list", "--database-url", &database.url];
    let both = keys(&admin.address, admin.key.as_deref(), &both).await;
    assert!(
        both.code == Some(2) && both.err.contains("give one of them"),
        "{}",
        both.err
    );
    let nobody = keys("http://127.0.0.1:1", None, &["list"]).await;
    assert!(
        nobody.code == Some(1) && nobody.err.contains("no gateway"),
        "{}",
        nobody.err
    );
}
