//! The life of keys.

use serde_json::{Value, json};

use super::doors::{Admin, Door, id, infer};
use crate::{
    keys::{serve, text},
    support::{Database, poll},
};

/// A gateway with an admin key.
pub async fn start(database: &Database) -> (tokio::process::Child, Admin) {
    let create = ["create", "--name", "root", "--admin", "admin"];
    let key = database.keys_json(&create).await;
    // Some tests have records of a month ago.
    let (child, address) = serve(database, &[("FEATHERWIRE_LEDGER_RETENTION", "60d")]).await;
    (child, Admin::new(&address, Some(text(&key, "secret"))))
}

#[tokio::test]
async fn a_change_is_valid_before_its_answer_and_soon_on_other_gateways() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let (_other, elsewhere) = serve(&database, &[]).await;
        let here = admin.address.clone();
        for door in Door::ALL {
            let call = async |method: &str, request: Value| {
                let answer = admin.call(door, method, request).await;
                answer.unwrap_or_else(|error| panic!("{door:?} {method}: {error:?}"))
            };
            let made = call("CreateKey", json!({"name": "app", "test": true})).await;
            let (key, secret) = (&made["id"], text(&made, "secret").to_owned());
            assert!(secret.starts_with("gw_test_") && made["key"]["id"] == *key);
            assert_eq!(infer(&here, Some(&secret)).await, 200, "{door:?}");
            let soon = async |secret: &str, status: u16| {
                let what = format!("{door:?}: {status} on the other gateway");
                poll::until(&what, async || {
                    infer(&elsewhere, Some(secret)).await == status
                })
                .await;
            };
            soon(&secret, 200).await;

            let disabled = call("UpdateKey", json!({"id": key, "disabled": true})).await;
            assert_eq!(disabled["state"], "KEY_STATE_DISABLED");
            assert_eq!(infer(&here, Some(&secret)).await, 401, "{door:?}");
            call("UpdateKey", json!({"id": key, "updateMask": "disabled"})).await;
            assert_eq!(infer(&here, Some(&secret)).await, 200, "{door:?}");

            let rotated = call("RotateKey", json!({"id": key, "grace": "0s"})).await;
            let new = text(&rotated, "secret").to_owned();
            assert!(new.starts_with("gw_test_") && new != secret && rotated["id"] == *key);
            assert_eq!(infer(&here, Some(&secret)).await, 401, "{door:?}");
            assert_eq!(infer(&here, Some(&new)).await, 200, "{door:?}");

            let revoked = call("RevokeKey", id(key)).await;
            assert_eq!(revoked["state"], "KEY_STATE_REVOKED");
            assert!(revoked["revokedAt"].is_string());
            assert_eq!(infer(&here, Some(&new)).await, 401, "{door:?}");
            soon(&new, 401).await;
            for (method, request) in [
                ("RotateKey", id(key)),
                ("UpdateKey", json!({"id": key, "disabled": false})),
            ] {
                let again = admin.call(door, method, request).await.unwrap_err();
                assert!(again.1.contains("revoked"), "{method}: {again:?}");
            }

            assert_eq!(call("DeleteKey", id(key)).await, json!({}));
            for method in ["GetKey", "UpdateKey", "RotateKey", "RevokeKey", "DeleteKey"] {
                let mut request = id(key);
                if method == "UpdateKey" {
                    request["owner"] = json!("Ada");
                }
                let error = admin.call(door, method, request).await.unwrap_err();
                assert_eq!(error.0, "key_not_found", "{door:?} {method}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_has_what_it_was_created_with_and_its_secret_is_shown_once() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    for door in Door::ALL {
        let limits = json!({
            "models": ["org/*", "a/b"], "accounts": ["main"], "weight": 3, "maxUnits": 4,
            "highestPriority": "PRIORITY_BATCH", "requestsPerMinute": 60,
            "tokensPerMinute": "10000",
            "budgets": [{
                "unit": "BUDGET_UNIT_UNIT_SECONDS", "amount": "3600",
                "period": "BUDGET_PERIOD_MONTH",
            }],
        });
        let request = json!({
            "name": "search-app", "owner": "Ada", "labels": {"team": "search"},
            "expiresAt": "2099-01-31T12:00:00Z", "limits": limits,
        });
        let made = admin.call(door, "CreateKey", request).await.unwrap();
        let secret = text(&made, "secret");
        let key = &made["key"];
        assert_eq!(key["limits"], limits, "{door:?}");
        assert_eq!(key["labels"], json!({"team": "search"}));
        assert_eq!(key["expiresAt"], "2099-01-31T12:00:00Z");
        assert_eq!(
            (text(key, "owner"), text(&made, "name")),
            ("Ada", "search-app")
        );
        assert!(secret.starts_with(text(&key["secrets"][0], "publicId")));
        assert!(secret.ends_with(text(&key["secrets"][0], "lastFour")));
        let got = admin.call(door, "GetKey", id(&made["id"])).await.unwrap();
        assert_eq!(got, *key);
        let list = admin.call(door, "ListKeys", json!({})).await.unwrap();
        let audit = admin
            .call(door, "ListAuditEvents", json!({}))
            .await
            .unwrap();
        let hidden = secret.rsplit_once('_').unwrap().1;
        for answer in [&got, &list, &audit] {
            assert!(!answer.to_string().contains(hidden), "{door:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn pages_have_each_key_once_while_keys_are_created_and_removed() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let mut expected = vec!["root".to_owned()];
        for number in 0..7 {
            let name = format!("key-{number}");
            admin.ok("CreateKey", json!({"name": name})).await;
            expected.push(name);
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        for round in 0.. {
            let request = json!({"pageSize": 3, "pageToken": token});
            let page = admin.ok("ListKeys", request).await;
            let keys = page["keys"].as_array().unwrap();
            assert!(keys.len() <= 3);
            seen.extend(keys.iter().map(|key| text(key, "name").to_owned()));
            token = text(&page, "nextPageToken").to_owned();
            if token.is_empty() {
                break;
            }
            if round == 0 {
                // A new key comes last, and the last key of the first page is removed.
                admin.ok("CreateKey", json!({"name": "late"})).await;
                expected.push("late".to_owned());
                admin.ok("DeleteKey", id(&keys[2]["id"])).await;
            }
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_list_has_the_keys_that_its_filter_lets_pass() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let search = json!({"name": "Search-App", "owner": "Ada", "labels": {"team": "search"}});
    let search = admin.ok("CreateKey", search).await;
    admin
        .ok(
            "CreateKey",
            json!({"name": "batch", "labels": {"team": "data"}}),
        )
        .await;
    admin
        .ok("UpdateKey", json!({"id": search["id"], "disabled": true}))
        .await;
    for (filter, names) in [
        (json!({"name": "search"}), &["Search-App"][..]),
        (json!({"owner": "ada"}), &["Search-App"]),
        (json!({"owner": "ad"}), &[]),
        (json!({"label": "team"}), &["Search-App", "batch"]),
        (json!({"label": "team=data"}), &["batch"]),
        (json!({"state": "KEY_STATE_DISABLED"}), &["Search-App"]),
        (json!({"state": "KEY_STATE_ACTIVE"}), &["root", "batch"]),
        (json!({"role": "KEY_ROLE_ADMIN"}), &["root"]),
        (
            json!({"role": "KEY_ROLE_INFERENCE", "name": "B"}),
            &["batch"],
        ),
    ] {
        for door in Door::ALL {
            let list = admin.call(door, "ListKeys", filter.clone()).await.unwrap();
            let found = list["keys"].as_array().unwrap().iter();
            let found: Vec<_> = found.map(|key| text(key, "name")).collect();
            assert_eq!(found, names, "{door:?} {filter}");
        }
    }
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_or_what_it_sets() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    for door in Door::ALL {
        let limits = json!({"weight": 2, "maxUnits": 4});
        let request = json!({"name": "app", "owner": "Ada", "limits": limits});
        let made = admin.call(door, "CreateKey", request).await.unwrap();
        let update = async |mut request: Value| {
            request["id"] = made["id"].clone();
            admin.call(door, "UpdateKey", request).await
        };
        let key = update(json!({"limits": {"weight": 9}})).await.unwrap();
        assert_eq!(
            (&key["limits"]["weight"], &key["limits"]["maxUnits"]),
            (&json!(9), &json!(4))
        );
        assert_eq!(text(&key, "owner"), "Ada");
        let request = json!({"updateMask": "owner,limits.maxUnits", "limits": {"weight": 1}});
        let key = update(request).await.unwrap();
        assert_eq!(
            (text(&key, "owner"), &key["limits"]["weight"]),
            ("", &json!(9))
        );
        assert_eq!(key["limits"].get("maxUnits"), None, "{door:?}");
        for bad in [
            json!({"updateMask": "nme", "name": "x"}),
            json!({"updateMask": "role"}),
            json!({}),
        ] {
            let error = update(bad.clone()).await.unwrap_err();
            assert_eq!(error.0, "invalid_value", "{door:?} {bad}");
            assert!(error.1.starts_with("update_mask"), "{door:?} {error:?}");
        }
        // Nothing of a request with an error is changed.
        let bad = json!({"name": "other", "limits": {"weight": 1001}});
        assert!(
            update(bad)
                .await
                .unwrap_err()
                .1
                .starts_with("limits.weight")
        );
        let key = admin.call(door, "GetKey", id(&made["id"])).await.unwrap();
        assert_eq!(text(&key, "name"), "app");
    }
}

#[tokio::test]
async fn a_change_sets_the_end_of_a_key_by_the_time_from_now() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let key = admin.ok("CreateKey", json!({"name": "app"})).await;
    let id = &key["id"];
    let days_left = |key: &Value| {
        let end = humantime::parse_rfc3339(text(key, "expiresAt")).unwrap();
        let left = end.duration_since(std::time::SystemTime::now()).unwrap();
        (left.as_secs_f64() / 86_400.0).round()
    };
    for door in Door::ALL {
        let update = async |request: Value| admin.call(door, "UpdateKey", request).await;
        let updated = update(json!({"id": id, "expiresIn": "2592000s"})).await;
        assert_eq!(days_left(&updated.unwrap()), 30.0, "{door:?}");
        for (mask, days) in [("expiresAt", 1), ("expiresIn", 2)] {
            let life = format!("{}s", days * 86_400);
            let request = json!({"id": id, "expiresIn": life, "updateMask": mask});
            let updated = update(request).await.unwrap();
            assert_eq!(days_left(&updated), f64::from(days), "{door:?} {mask}");
        }
        let both = json!({"id": id, "expiresIn": "5s", "expiresAt": "2099-01-01T00:00:00Z"});
        let refused = update(both).await.unwrap_err();
        assert!(refused.1.contains("set one of them"), "{refused:?}");
        let key = admin.call(door, "GetKey", json!({"id": id})).await.unwrap();
        assert_eq!(days_left(&key), 2.0, "a refused change leaves the end");
        let cleared = update(json!({"id": id, "updateMask": "expiresIn"})).await;
        assert_eq!(cleared.unwrap().get("expiresAt"), None, "{door:?}");
    }
    let path = format!("/admin/v1/keys/{}", id.as_str().unwrap());
    let body = Some(r#"{"expiresIn": "30d"}"#.to_owned());
    let (status, updated) = admin.send(http::Method::PATCH, &path, body).await;
    assert_eq!((status, days_left(&updated)), (200, 30.0));
}
