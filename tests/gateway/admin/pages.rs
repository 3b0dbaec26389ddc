//! Web pages that manage keys.

use serde_json::json;

use super::{doors::Admin, keys::start, rest::send};
use crate::{
    keys::text,
    support::{Database, program},
};

#[tokio::test]
async fn a_web_page_may_change_and_delete_keys_with_an_admin_key() {
    let database = Database::sqlite();
    let (_child, admin) = start(&database).await;
    let page = ("origin", "https://app.example");
    for verb in ["PATCH", "DELETE", "POST"] {
        let asked = ("access-control-request-method", verb);
        let answer = send(&admin, "OPTIONS", "/admin/v1/keys/x", &[page, asked]).await;
        let allowed = &answer.headers()["access-control-allow-methods"];
        let allowed = allowed.to_str().unwrap();
        assert!(allowed.contains(verb), "{verb}: {allowed}");
    }
    let listed = send(&admin, "GET", "/admin/v1/keys", &[page]).await;
    assert_eq!(listed.status(), 200);
}

#[tokio::test]
async fn without_an_admin_key_a_web_page_of_another_host_manages_nothing() {
    let (_child, address) =
        program::serve(&["--emulator", "--cors-origins", "https://app.example"]).await;
    let open = Admin::new(&address, None);
    let status = async |verb: &str, path: &str, origin: &str| {
        let answer = send(&open, verb, path, &[("origin", origin)]).await;
        answer.status().as_u16()
    };
    for origin in ["https://app.example", "https://evil.example", "null"] {
        for path in ["/admin/v1/keys", "/admin/v1/calls:export"] {
            assert_eq!(status("GET", path, origin).await, 403, "{origin} {path}");
        }
        // An error of gRPC-Web is in its headers.
        let list = "/featherwire.admin.v1.KeyService/ListKeys";
        let web = ("content-type", "application/grpc-web+proto");
        let answer = send(&open, "POST", list, &[("origin", origin), web]).await;
        assert_eq!(answer.headers()["grpc-status"], "7", "{origin}");
    }
    assert_eq!(
        status("GET", "/v1/models", "https://app.example").await,
        200
    );
    let here = "http://localhost:3000";
    assert_eq!(status("GET", "/admin/v1/keys", here).await, 200);
    let list = open.ok("ListKeys", json!({})).await;
    assert_eq!(list["keys"], json!([]));
    // With an admin key the option decides alone.
    let root = json!({"name": "root", "role": "admin"});
    let root = open.ok("CreateKey", root).await;
    let root = Admin::new(&address, Some(text(&root, "secret")));
    let page = [("origin", "https://app.example")];
    let listed = send(&root, "GET", "/admin/v1/keys", &page).await;
    assert_eq!(listed.status(), 200);
}
