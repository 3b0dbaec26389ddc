//! What administrators see of the budgets of keys.

use serde_json::{Value, json};

use super::{
    command_line,
    doors::{Admin, Door},
    keys::start,
};
use crate::{
    key_limits::post,
    keys::{serve, text},
    support::{Database, MODEL, poll, program, prompt},
};

#[tokio::test]
async fn an_administrator_sees_what_a_key_has_spent_at_all_gateways_and_when_it_renews() {
    for database in Database::each().await {
        let create = ["create", "--name", "app", "--budget", "requests=8/day"];
        let key = database
            .keys_json(&[&create[..], &["--budget", "tokens=100000/total"]].concat())
            .await;
        let (id, secret) = (text(&key, "id"), text(&key, "secret"));
        assert_eq!(key.get("budgets"), None, "a new key tells nothing yet");
        let without = database.keys_json(&["create", "--name", "free"]).await;
        let (_child, admin) = start(&database).await;
        let (_other, elsewhere) = serve(&database, &[]).await;

        let fresh = admin.ok("GetKey", json!({"id": id})).await;
        assert_eq!(amounts(&fresh, 0), ("8", "0", "8"));
        for (address, calls) in [(&admin.address, 1), (&elsewhere, 2)] {
            for _ in 0..calls {
                let answer = post(address, secret, prompt(MODEL, "hi"), &[]).await;
                assert_eq!(answer.status(), 200);
            }
        }
        poll::until("the calls of both gateways are seen", async || {
            let key = admin.ok("GetKey", json!({"id": id})).await;
            amounts(&key, 0) == ("8", "3", "5")
        })
        .await;
        for door in Door::ALL {
            let call = async |method, request| admin.call(door, method, request).await.unwrap();
            let key = call("GetKey", json!({"id": id})).await;
            assert_eq!(amounts(&key, 0), ("8", "3", "5"), "{door:?}");
            let (amount, spent, left) = amounts(&key, 1);
            let number = |text: &str| text.parse::<u64>().unwrap();
            assert!(number(spent) >= 3 * 9, "{key}");
            assert_eq!(number(amount), number(spent) + number(left));
            let [day, total] = [0, 1].map(|place| &key["budgets"][place]["renewsAt"]);
            assert!(text_of(day).ends_with("T00:00:00Z") && total.is_null());
            let listed = call("ListKeys", json!({"name": "app"})).await;
            assert_eq!(listed["keys"][0], key, "{door:?}");
            let updated = call("UpdateKey", json!({"id": id, "owner": "Ada"})).await;
            assert_eq!(updated["budgets"], key["budgets"], "{door:?}");
            let free = call("GetKey", json!({"id": without["id"]})).await;
            assert_eq!(free["budgets"], json!([]), "{door:?}");
        }

        let shown = database.keys(&["show", "app"]).await.out;
        assert!(
            shown.contains(" requests=8/day\n                      37% used, 5 left, renews "),
            "{shown}"
        );
        let in_json = database.keys_json(&["show", "app"]).await;
        let budget = &in_json["budgets"][0];
        assert_eq!(text(budget, "of"), "requests");
        assert_eq!((text(budget, "per"), &budget["amount"]), ("day", &json!(8)));
        assert_eq!([&budget["spent"], &budget["left"]], [&json!(3), &json!(5)]);
        assert_eq!(in_json["budgets"][1]["renews_at"], Value::Null);
        for arguments in [&["show", "app"][..], &["show", "app", "--json"]] {
            // Each gateway saves the time of the last use when it saves the next time.
            poll::until("both ways show the same", async || {
                let key = admin.key.as_deref();
                let there = command_line::keys(&admin.address, key, arguments).await;
                there.out == database.keys(arguments).await.out
            })
            .await;
        }

        // A window that has ended counts no more.
        if !database.url.starts_with("sqlite:") {
            continue;
        }
        database
            .execute("UPDATE featherwire_spending SET window_number = window_number - 1")
            .await;
        let next = admin.ok("GetKey", json!({"id": id})).await;
        assert_eq!(amounts(&next, 0), ("8", "0", "8"));
    }
}

#[tokio::test]
async fn an_administrator_sees_what_a_key_in_memory_has_spent() {
    for door in Door::ALL {
        let (_child, address) = program::serve(&["--emulator"]).await;
        let admin = Admin::new(&address, None);
        let budgets = json!([
            {"unit": "BUDGET_UNIT_REQUESTS", "amount": "8", "period": "BUDGET_PERIOD_DAY"},
        ]);
        let create = json!({"name": "app", "limits": {"budgets": budgets}});
        let created = admin.call(door, "CreateKey", create).await.unwrap();
        assert_eq!(amounts(&created["key"], 0), ("8", "0", "8"), "{door:?}");
        let get = json!({"id": created["id"]});
        for _ in 0..3 {
            let answer = post(&address, text(&created, "secret"), prompt(MODEL, "hi"), &[]).await;
            assert_eq!(answer.status(), 200);
        }
        let key = admin.call(door, "GetKey", get.clone()).await.unwrap();
        assert_eq!(amounts(&key, 0), ("8", "3", "5"), "{door:?}");
        let listed = admin.call(door, "ListKeys", json!({})).await.unwrap();
        assert_eq!(listed["keys"][0]["budgets"], key["budgets"], "{door:?}");
        let update = json!({"id": created["id"], "owner": "Ada"});
        let updated = admin.call(door, "UpdateKey", update).await.unwrap();
        assert_eq!(updated["budgets"], key["budgets"], "{door:?}");
    }
}

/// The amount, what is spent and what is left of the budget at this place.
fn amounts(key: &Value, place: usize) -> (&str, &str, &str) {
    let budget = &key["budgets"][place];
    (
        text(budget, "amount"),
        text(budget, "spent"),
        text(budget, "left"),
    )
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
