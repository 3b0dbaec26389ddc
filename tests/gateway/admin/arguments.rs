//! Wrong arguments of the commands for administrators.

use super::{command_line::keys, keys::start};
use crate::support::{
    Database,
    program::{featherwire, run},
};

#[tokio::test]
async fn wrong_settings_are_wrong_arguments_and_no_database_is_created_for_them() {
    let database = Database::sqlite();
    let id = "01980000-0000-7000-8000-000000000000";
    for arguments in [
        &["create", "--name", ""][..],
        &["create", "--name", "app", "--weight", "1001"],
        &[
            "create", "--name", "app", "--admin", "admin", "--weight", "2",
        ],
        &["update", id, "--weight", "1001"],
        &["update", id, "--name", " "],
    ] {
        let ended = database.keys(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "");
        let path = database.url.strip_prefix("sqlite:").unwrap();
        assert!(!std::path::Path::new(path).exists(), "{arguments:?}");
    }
    // What is wrong only for this key.
    let (_child, admin) = start(&database).await;
    let update = ["update", "root", "--weight", "2"];
    let here = database.keys(&update).await;
    let there = keys(&admin.address, admin.key.as_deref(), &update).await;
    assert_eq!((here.code, there.code), (Some(2), Some(2)), "{}", there.err);
    assert!(there.err.contains("takes no limits"), "{}", there.err);
    let show = database.keys_json(&["show", "root"]).await;
    assert!(show["limits"]["weight"].is_null(), "{show}");
}

#[tokio::test]
async fn an_admin_key_without_a_gateway_is_a_wrong_command_line() {
    let database = Database::sqlite();
    database.keys_json(&["create", "--name", "app"]).await;
    for arguments in [&["keys", "list"][..], &["usage"], &["calls"]] {
        let mut command = featherwire(arguments);
        command.env("FEATHERWIRE_DATABASE_URL", &database.url);
        command.args(["--admin-key", "gw_admin_secret"]);
        let ended = run(&mut command).await;
        assert!(
            ended.code == Some(2) && ended.err.contains("add --gateway URL"),
            "{arguments:?}: {}",
            ended.err
        );
        assert!(!ended.err.contains("secret") && ended.out.is_empty());
        // The variable may be set for other commands.
        let mut command = featherwire(arguments);
        command.env("FEATHERWIRE_DATABASE_URL", &database.url);
        command.env("FEATHERWIRE_ADMIN_KEY", "gw_admin_secret");
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn an_option_of_another_command_is_told_with_the_whole_name_of_that_command() {
    for (flag, command) in [
        ("--grace", "`featherwire keys rotate`"),
        ("--queue-limit", "`featherwire serve`"),
    ] {
        let ended = run(&mut featherwire(&["keys", "list", flag, "1s"])).await;
        assert!(
            ended.code == Some(2) && ended.err.contains(command),
            "{flag}: {}",
            ended.err
        );
    }
}
