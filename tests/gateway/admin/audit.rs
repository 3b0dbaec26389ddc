//! Who changed what.

use serde_json::{Value, json};

use super::{
    doors::{Door, id},
    keys::start,
};
use crate::{keys::text, support::Database};

#[tokio::test]
async fn every_change_is_recorded_with_its_actor_and_its_values() {
    for database in Database::each().await {
        let (_child, admin) = start(&database).await;
        let request = json!({"name": "app", "limits": {"weight": 2}});
        let made = admin.ok("CreateKey", request).await;
        let key = made["id"].clone();
        admin
            .ok("UpdateKey", json!({"id": key, "limits": {"weight": 3}}))
            .await;
        admin
            .ok("RotateKey", json!({"id": key, "grace": "60s"}))
            .await;
        // A change that fails is none.
        let bad = json!({"id": key, "name": ""});
        assert!(admin.call(Door::Rest, "UpdateKey", bad).await.is_err());
        admin.ok("RevokeKey", id(&key)).await;
        admin.ok("DeleteKey", id(&key)).await;

        for door in Door::ALL {
            let request = json!({"keyId": key});
            let list = admin.call(door, "ListAuditEvents", request).await.unwrap();
            let events = list["events"].as_array().unwrap();
            let actions: Vec<_> = events.iter().map(|event| text(event, "action")).collect();
            assert_eq!(actions, ["delete", "revoke", "rotate", "update", "create"]);
            for event in events {
                assert_eq!((text(event, "actor"), &event["keyId"]), ("root", &key));
                assert_eq!(text(event, "actorId").len(), 36);
            }
            let change = |field: &str, old: &str, new: &str| json!({"field": field, "oldValue": old, "newValue": new});
            assert_eq!(
                events[3]["changes"],
                json!([change("limits.weight", "2", "3")])
            );
            let created = events[4]["changes"].as_array().unwrap();
            assert!(
                created.contains(&change("name", "", "\"app\"")),
                "{created:?}"
            );
            assert_eq!(events[0]["changes"], json!([change("name", "\"app\"", "")]));
        }
        let (mut ids, mut token) = (Vec::<Value>::new(), String::new());
        loop {
            let page = json!({"pageSize": 2, "pageToken": token});
            let page = admin.ok("ListAuditEvents", page).await;
            ids.extend(
                page["events"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| it["id"].clone()),
            );
            token = text(&page, "nextPageToken").to_owned();
            if token.is_empty() {
                break;
            }
        }
        // The key of the administrator was created by the command line.
        assert_eq!(ids.len(), 6);
        let mut sorted = ids.clone();
        sorted.sort_by_key(|id| std::cmp::Reverse(id.as_str().unwrap().parse::<i64>().unwrap()));
        assert_eq!(ids, sorted);
    }
}
