//! A gateway without keys.

use serde_json::json;

use super::doors::{Admin, Door, infer};
use crate::{
    keys::{serve, text},
    support::{Database, program, rest::http},
};

#[tokio::test]
async fn a_gateway_with_its_keys_in_memory_is_managed_without_a_key_until_it_has_an_admin() {
    for door in Door::ALL {
        let (_child, address) = program::serve(&["--emulator"]).await;
        let open = Admin::new(&address, None);
        assert_eq!(infer(&address, None).await, 200);
        let app = open
            .call(door, "CreateKey", json!({"name": "app"}))
            .await
            .unwrap();
        let app_secret = text(&app, "secret");
        assert!(text(&app, "notice").contains("require a key now"));
        assert_eq!(
            infer(&address, None).await,
            401,
            "{door:?}: it requires a key now"
        );
        assert_eq!(infer(&address, Some(app_secret)).await, 200);
        let as_app = Admin::new(&address, Some(app_secret));
        let refused = as_app.call(door, "ListKeys", json!({})).await.unwrap_err();
        assert_eq!(refused.0, "wrong_key_role", "{door:?}");
        assert!(
            refused.1.contains("create one without a key"),
            "{refused:?}"
        );
        open.call(door, "ListKeys", json!({})).await.unwrap();

        let request = json!({"name": "root", "role": "KEY_ROLE_ADMIN"});
        let root = open.call(door, "CreateKey", request).await.unwrap();
        assert_eq!(text(&root, "notice"), "");
        let refused = open.call(door, "ListKeys", json!({})).await.unwrap_err();
        assert_eq!(refused.0, "invalid_api_key", "{door:?}");
        let root_secret = text(&root, "secret");
        assert!(root_secret.starts_with("gw_admin_"));
        let root_key = Admin::new(&address, Some(root_secret));
        root_key.call(door, "ListKeys", json!({})).await.unwrap();
        // Without its admin it stays closed.
        root_key
            .call(door, "DeleteKey", json!({"id": root["id"]}))
            .await
            .unwrap();
        let refused = open.call(door, "ListKeys", json!({})).await.unwrap_err();
        assert_eq!(refused.0, "invalid_api_key", "{door:?}");
    }
}

#[tokio::test]
async fn the_first_key_of_a_database_closes_the_gateway_and_says_what_to_do() {
    let database = Database::sqlite();
    let (_child, address) = serve(&database, &[]).await;
    let open = Admin::new(&address, None);
    let app = open.ok("CreateKey", json!({"name": "app"})).await;
    let notice = text(&app, "notice");
    assert!(
        notice.contains("featherwire keys create --admin admin"),
        "{notice}"
    );
    let refused = open
        .call(Door::Rest, "ListKeys", json!({}))
        .await
        .unwrap_err();
    assert_eq!(refused.0, "invalid_api_key");
    let create = ["create", "--name", "root", "--admin", "admin"];
    let root = database.keys_json(&create).await;
    let root = Admin::new(&address, Some(text(&root, "secret")));
    crate::support::poll::until("the admin key is known", async || {
        root.call(Door::Rest, "ListKeys", json!({})).await.is_ok()
    })
    .await;
    let event = &root.ok("ListAuditEvents", json!({})).await["events"];
    assert_eq!(
        (text(&event[0], "actor"), text(&event[1], "actor")),
        ("local", "everyone")
    );
}

#[tokio::test]
async fn a_key_that_manages_nothing_is_told_how_keys_are_managed_there() {
    let keys = [("FEATHERWIRE_API_KEYS", "gw_env")];
    let advice = async |address: &str, key: &str| {
        let caller = Admin::new(address, Some(key));
        let refused = caller.call(Door::Rest, "ListKeys", json!({})).await;
        let (code, message) = refused.unwrap_err();
        assert_eq!(code, "wrong_key_role");
        message
    };
    let mut command = program::featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command.envs(keys);
    let (_child, address, _) = program::started(command).await;
    let message = advice(&address, "gw_env").await;
    assert!(
        message.contains("start it with another database"),
        "{message}"
    );
    let nobody = Admin::new(&address, None);
    let refused = nobody.call(Door::Rest, "ListKeys", json!({})).await;
    assert_eq!(refused.unwrap_err().0, "invalid_api_key");

    let database = Database::sqlite();
    let (_child, address) = serve(&database, &keys).await;
    let message = advice(&address, "gw_env").await;
    assert!(
        message.contains("`featherwire keys create --admin admin --name NAME`"),
        "{message}"
    );
    let root = ["create", "--name", "root", "--admin", "admin"];
    let root = database.keys_json(&root).await;
    let root = Admin::new(&address, Some(text(&root, "secret")));
    crate::support::poll::until("the admin key is known", async || {
        root.call(Door::Rest, "ListKeys", json!({})).await.is_ok()
    })
    .await;
    let message = advice(&address, "gw_env").await;
    assert!(
        message.contains("The owner of the gateway has one"),
        "{message}"
    );
}

#[tokio::test]
async fn a_gateway_without_keys_is_managed_only_by_the_names_of_its_machine() {
    let (_child, address) = program::serve(&["--emulator"]).await;
    let request = http()
        .get(format!("{address}/admin/v1/keys"))
        .header("host", "rebound.example");
    assert_eq!(request.send().await.unwrap().status(), 403);
}
