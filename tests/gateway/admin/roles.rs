//! Who may: by role, and through every door.

use serde_json::{Value, json};

use super::doors::{Admin, Door, id, infer};
use crate::{
    keys::{serve, text},
    support::Database,
};

/// Every method with a request, and whether it changes something.
fn methods(key: &Value) -> [(&'static str, Value, bool); 8] {
    [
        ("CreateKey", json!({"name": "more"}), true),
        ("GetKey", id(key), false),
        ("ListKeys", json!({}), false),
        ("UpdateKey", json!({"id": key, "owner": "Ada"}), true),
        ("RotateKey", id(key), true),
        ("RevokeKey", id(key), true),
        ("DeleteKey", id(key), true),
        ("ListAuditEvents", json!({}), false),
    ]
}

#[tokio::test]
async fn an_admin_may_all_a_viewer_reads_and_a_key_for_calls_manages_nothing() {
    let database = Database::sqlite();
    let create = async |arguments: &[&str]| {
        let arguments = [&["create", "--name", "some"], arguments].concat();
        text(&database.keys_json(&arguments).await, "secret").to_owned()
    };
    let admin = create(&["--admin", "admin"]).await;
    let viewer = create(&["--admin", "viewer"]).await;
    let inference = create(&[]).await;
    let (_child, address) = serve(&database, &[("FEATHERWIRE_API_KEYS", "gw_env")]).await;
    for door in Door::ALL {
        let as_key = |key: &str| Admin::new(&address, Some(key));
        let made = as_key(&admin)
            .ok("CreateKey", json!({"name": "made"}))
            .await;
        for (method, request, is_change) in methods(&made["id"]) {
            let what = format!("{door:?} {method}");
            let code = async |key: Option<&str>| {
                let admin = Admin::new(&address, key);
                let answer = admin.call(door, method, request.clone()).await;
                answer.err().map(|(code, _)| code)
            };
            for manages_nothing in [&*inference, "gw_env"] {
                let code = code(Some(manages_nothing)).await;
                assert_eq!(code.as_deref(), Some("wrong_key_role"), "{what}");
            }
            for unknown in [None, Some("gw_admin_unknown")] {
                let code = code(unknown).await;
                assert_eq!(code.as_deref(), Some("invalid_api_key"), "{what}");
            }
            let refused = is_change.then_some("wrong_key_role");
            assert_eq!(code(Some(&viewer)).await.as_deref(), refused, "{what}");
            assert_eq!(code(Some(&admin)).await, None, "{what}");
        }
    }
    for manages in [&admin, &viewer] {
        assert_eq!(infer(&address, Some(manages)).await, 403);
    }
}
