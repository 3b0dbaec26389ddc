//! The JSON of requests and answers.

use http::Method;
use serde_json::{Value, json};

use super::{
    doors::{Admin, id},
    keys::start,
};
use crate::{
    keys::text,
    openapi::{Document, document::operations, problems},
    support::{
        Database,
        rest::{http, status_and_json},
    },
};

async fn post(admin: &Admin, body: &Value) -> (u16, Value) {
    let body = Some(body.to_string());
    admin.send(Method::POST, "/admin/v1/keys", body).await
}

#[tokio::test]
async fn names_of_the_contract_short_words_and_limits_beside_the_name_are_understood() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let body = json!({
        "name": "app", "role": "inference", "models": ["org/*"], "requests_per_minute": 60,
        "limits": {"tokensPerMinute": 5000, "highest_priority": "batch"},
        "budgets": [
            {"unit": "TOKENS", "amount": "100000", "period": "DAY"},
            {"unit": "unit-seconds", "amount": 5, "period": "month"},
        ],
        "owner": null, "expires_in": "3600s",
    });
    let (status, made) = post(&admin, &body).await;
    assert_eq!(status, 200, "{made}");
    let limits = &made["key"]["limits"];
    assert_eq!(limits["models"], json!(["org/*"]));
    assert_eq!(limits["requestsPerMinute"], 60);
    assert_eq!(
        limits["tokensPerMinute"], "5000",
        "64-bit integers are texts"
    );
    assert_eq!(limits["highestPriority"], "PRIORITY_BATCH");
    let budget = |unit: &str, amount: &str, period: &str| {
        json!({
            "unit": format!("BUDGET_UNIT_{unit}"), "amount": amount,
            "period": format!("BUDGET_PERIOD_{period}"),
        })
    };
    let budgets = [
        budget("TOKENS", "100000", "DAY"),
        budget("UNIT_SECONDS", "5", "MONTH"),
    ];
    assert_eq!(limits["budgets"], json!(budgets));
    assert_eq!(made["key"]["role"], "KEY_ROLE_INFERENCE");
    assert!(text(&made["key"], "expiresAt").ends_with('Z'));
    assert_eq!(
        made["key"]["owner"], "",
        "a field that cannot be unset is present"
    );
    assert_eq!(
        made["key"].get("revokedAt"),
        None,
        "an unset field is absent"
    );
    for name in ["id", "name", "secret"] {
        assert!(made[name].is_string(), "{name}");
    }
}

#[tokio::test]
async fn the_examples_of_the_openapi_document_are_answered_as_it_says() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let document = Document::ours();
    let mut paths = 0;
    for (method, path, operation) in operations(&document) {
        if !path.starts_with("/admin/") && path != "/v1/key" && path != "/v1/usage" {
            continue;
        }
        let example = operation.pointer("/requestBody/content/application~1json/example");
        let new = json!({"name": "app", "limits": {"weight": 2}});
        let key = admin.ok("CreateKey", new).await;
        let url = path.replace("{id}", text(&key, "id"));
        if url.ends_with("export") {
            continue;
        }
        let verb = method.parse().unwrap();
        let (status, answer) = admin.send(verb, &url, example.map(Value::to_string)).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let validator = document.validator(schema);
        assert_eq!(
            problems(&validator, &answer),
            [""; 0],
            "{method} {path}: {answer}"
        );
        paths += 1;
    }
    assert_eq!(paths, 12);
}

#[tokio::test]
async fn a_wrong_member_is_named_and_changes_nothing() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let with = |more: Value| {
        let mut body = json!({"name": "app"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let budget = |unit: &str, amount: Value| {
        with(json!({"limits": {"budgets": [{"unit": unit, "amount": amount, "period": "DAY"}]}}))
    };
    for (body, param) in [
        (json!({}), "name"),
        (json!({"name": 5}), "name"),
        (json!({"nam": "app"}), "nam"),
        (with(json!({"expires": "30d"})), "expires"),
        (with(json!({"budget": "tokens=5/day"})), "budget"),
        (with(json!({"admin": "admin"})), "admin"),
        (with(json!({"limits": {"wieght": 1}})), "limits.wieght"),
        (with(json!({"limits": {"weight": 0}})), "limits.weight"),
        (with(json!({"limits": {"weight": -1}})), "limits.weight"),
        (with(json!({"limits": {"weight": "many"}})), "limits.weight"),
        (with(json!({"limits": {"weight": 1.5}})), "limits.weight"),
        (
            with(json!({"weight": 1, "limits": {"weight": 2}})),
            "weight",
        ),
        (
            with(json!({"limits": {"models": ["org/[a]"]}})),
            "limits.models",
        ),
        (with(json!({"limits": 5})), "limits"),
        (budget("TOKENS", json!(-5)), "limits.budgets[0].amount"),
        (budget("TOKENS", json!(0)), "limits.budgets[0].amount"),
        (budget("EUROS", json!(5)), "limits.budgets[0].unit"),
        (
            with(json!({"budgets": [{"amount": 5}]})),
            "limits.budgets[0].unit",
        ),
        (with(json!({"role": "boss"})), "role"),
        (with(json!({"role": 9})), "role"),
        (with(json!({"role": "admin", "test": true})), "test"),
        (
            with(json!({"expiresAt": "2001-01-01T00:00:00Z"})),
            "expires_at",
        ),
        (with(json!({"expiresAt": "soon"})), "expiresAt"),
        (with(json!({"expiresIn": "-5s"})), "expires_in"),
        (
            with(json!({"expiresIn": "5s", "expiresAt": "2099-01-01T00:00:00Z"})),
            "expires_in",
        ),
        (with(json!({"labels": {"a": 5}})), "labels.a"),
        (with(json!({"labels": {"": "x"}})), "labels"),
    ] {
        let (status, answer) = post(&admin, &body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    // A key that manages keys has no limits.
    let body = with(json!({"role": "viewer", "weight": 2}));
    assert_eq!(post(&admin, &body).await.0, 400);
    let list = admin.ok("ListKeys", json!({})).await;
    assert_eq!(list["keys"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn a_request_in_a_wrong_form_is_refused() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let key = admin.ok("CreateKey", json!({"name": "app"})).await;
    let path = format!("/admin/v1/keys/{}", text(&key, "id"));
    let send = async |verb: Method, path: &str, body: Option<&str>| {
        let (status, answer) = admin.send(verb, path, body.map(str::to_owned)).await;
        let error = &answer["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (status, text("code"), text("param"))
    };
    let is = |status: u16, code: &str, param: &str| (status, code.to_owned(), param.to_owned());
    let invalid = |param: &str| is(400, "invalid_value", param);
    let keys = "/admin/v1/keys";
    for bad in ["", "[]", "5", "{", "nothing"] {
        let expected = match bad {
            // An absent body is an empty object.
            "" => invalid("name"),
            _ => is(400, "invalid_json", ""),
        };
        assert_eq!(send(Method::POST, keys, Some(bad)).await, expected, "{bad}");
    }
    for (query, param) in [
        ("pageSize=-1", "page_size"),
        ("pageSize=many", "pageSize"),
        ("page_size=1&page_size=2", "page_size"),
        ("pageToken=oops", "page_token"),
        ("state=sleepy", "state"),
        ("colour=red", "colour"),
    ] {
        let got = send(Method::GET, &format!("{keys}?{query}"), None).await;
        assert_eq!(got, invalid(param), "{query}");
    }
    // A token belongs to its filter.
    let page = admin.ok("ListKeys", json!({"pageSize": 1})).await;
    let token = text(&page, "nextPageToken");
    assert!(!token.is_empty());
    let other = format!("{keys}?pageSize=1&name=a&pageToken={token}");
    assert_eq!(send(Method::GET, &other, None).await, invalid("page_token"));
    for (verb, path, expected) in [
        (Method::GET, "/admin/v1/keys/app", invalid("id")),
        (
            Method::GET,
            "/admin/v1/keys/01980000-0000-7000-8000-000000000000",
            is(404, "key_not_found", ""),
        ),
        (Method::PUT, keys, is(405, "method_not_allowed", "")),
        (Method::GET, "/admin/v1/kies", is(404, "unknown_path", "")),
        (Method::GET, "/admin/v1/", is(404, "unknown_path", "")),
    ] {
        assert_eq!(send(verb, path, None).await, expected, "{path}");
    }
    assert_eq!(send(Method::GET, &path, Some("{}")).await, invalid("body"));
    let other_id = json!({"id": "another", "owner": "Ada"}).to_string();
    let got = send(Method::PATCH, &path, Some(&other_id)).await;
    assert_eq!(got, invalid("id"));
    let bad_grace = json!({"grace": "-1s"}).to_string();
    let got = send(Method::POST, &format!("{path}:rotate"), Some(&bad_grace)).await;
    assert_eq!(got, invalid("grace"));
    let large = json!({"name": "x".repeat(300 * 1024)}).to_string();
    let got = send(Method::POST, keys, Some(&large)).await;
    assert_eq!(got, is(413, "request_too_large", ""));
}

#[tokio::test]
async fn a_mask_may_have_the_names_of_the_contract() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    for mask in [
        "owner,limits.requests_per_minute,expires_at",
        "owner, limits.requestsPerMinute, expiresAt",
        "owner,requests_per_minute,expires_at",
    ] {
        let new = json!({
            "name": "app", "owner": "Ada", "requestsPerMinute": 60, "maxUnits": 4,
            "expiresIn": "30d",
        });
        let key = admin.ok("CreateKey", new).await;
        let change = json!({"id": key["id"], "update_mask": mask});
        let key = admin.ok("UpdateKey", change).await;
        assert_eq!(key["owner"], "", "{mask}");
        assert_eq!(
            key["limits"],
            json!({"maxUnits": 4, "models": [], "budgets": [], "accounts": []}),
            "{mask}"
        );
        assert_eq!(key.get("expiresAt"), None, "{mask}");
    }
    let all = admin
        .ok("CreateKey", json!({"name": "app", "owner": "Ada"}))
        .await;
    let change = json!({"id": all["id"], "updateMask": "*", "name": "other"});
    let all = admin.ok("UpdateKey", change).await;
    assert_eq!((text(&all, "name"), text(&all, "owner")), ("other", ""));
}

#[tokio::test]
async fn a_member_that_is_given_twice_is_refused_by_its_path() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let budget = json!({"unit": "TOKENS", "amount": 5, "period": "DAY"});
    for (body, param, other) in [
        (
            json!({"name": "app", "expiresIn": "1d", "expires_in": "2d"}),
            "expires_in",
            "expiresIn",
        ),
        (
            json!({"name": "app", "limits": {"maxUnits": 1, "max_units": 2}}),
            "limits.max_units",
            "limits.maxUnits",
        ),
        (
            json!({"name": "app", "requestsPerMinute": 1, "limits": {"requests_per_minute": 2}}),
            "requestsPerMinute",
            "limits.requests_per_minute",
        ),
        (
            json!({"name": "app", "requestsPerMinute": 1, "requests_per_minute": 2}),
            "requests_per_minute",
            "requestsPerMinute",
        ),
        (
            json!({"name": "app", "budgets": [budget], "limits": {"budgets": [budget]}}),
            "budgets",
            "limits.budgets",
        ),
    ] {
        let (status, answer) = post(&admin, &body).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{answer}"
        );
        let expected = format!("{param}: also given as {other}: give one of them");
        assert_eq!(text(&answer["error"], "message"), expected);
    }
    let list = admin.ok("ListKeys", json!({})).await;
    assert_eq!(list["keys"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn an_unknown_member_is_told_a_place_that_its_request_has() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let key = admin.ok("CreateKey", json!({"name": "app"})).await;
    let path = format!("/admin/v1/keys/{}", text(&key, "id"));
    let message = async |verb: Method, path: &str, body: Value| {
        let (status, answer) = admin.send(verb, path, Some(body.to_string())).await;
        assert_eq!(status, 400, "{answer}");
        text(&answer["error"], "message").to_owned()
    };
    for (verb, path) in [(Method::PATCH, &*path), (Method::POST, "/admin/v1/keys")] {
        let expires = message(verb, path, json!({"expires": "30d"})).await;
        assert!(
            expires.contains("expiresAt") && expires.contains("expiresIn"),
            "{expires}"
        );
    }
    let admin_key = json!({"admin": true});
    let create = message(Method::POST, "/admin/v1/keys", admin_key.clone()).await;
    assert!(create.contains("this belongs into role"), "{create}");
    let update = message(Method::PATCH, &path, admin_key).await;
    assert!(update.contains("the members here are id"), "{update}");
    let create = message(Method::POST, "/admin/v1/keys", json!({"id": "5"})).await;
    assert!(
        create.contains("the members here are name") && !create.contains("path"),
        "{create}"
    );
}

/// A browser sends such requests without asking the gateway first.
#[tokio::test]
async fn a_web_page_of_another_site_changes_nothing() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let key = admin.ok("CreateKey", json!({"name": "app"})).await;
    let revoke = format!(
        "{}/admin/v1/keys/{}:revoke",
        admin.address,
        text(&key, "id")
    );
    let send = async |origin: Option<&str>, media_type: Option<&str>| {
        let mut post = http()
            .post(&revoke)
            .bearer_auth(admin.key.as_ref().unwrap());
        if let Some(origin) = origin {
            post = post.header("origin", origin);
        }
        if let Some(media_type) = media_type {
            post = post.header("content-type", media_type).body("{}");
        }
        status_and_json(post.send().await.unwrap()).await.0
    };
    assert_eq!(send(Some("https://evil.example"), None).await, 415);
    assert_eq!(
        send(Some("https://evil.example"), Some("text/plain")).await,
        415
    );
    assert_eq!(send(None, Some("text/plain")).await, 415);
    let state = admin.ok("GetKey", id(&key["id"])).await["state"].clone();
    assert_eq!(state, "KEY_STATE_ACTIVE");
    // `curl -X POST` sends no body and no page.
    assert_eq!(send(None, None).await, 200);
}
