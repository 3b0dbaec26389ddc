//! The documentation page: available without a key, complete, and without files from other origins.

use http::StatusCode;
use serde_json::Value;

use crate::support::{Gateway, Reply, Scripted, rest::http};

const FILES: [(&str, &str); 5] = [
    ("/openapi.json", "application/json"),
    ("/docs", "text/html; charset=utf-8"),
    ("/docs/page.js", "text/javascript; charset=utf-8"),
    (
        "/docs/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
];

async fn locked() -> Gateway {
    let upstream = Scripted::always(Reply::Silence).await;
    Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await
}

#[tokio::test]
async fn document_and_page_need_no_key_and_are_sent_once() {
    let gateway = locked().await;
    for (path, media_type) in FILES {
        let response = http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let head = response.headers().clone();
        assert_eq!(head["content-type"], media_type);
        assert_eq!(head["cache-control"], "no-cache");
        assert!(head.contains_key("x-request-id") && !response.bytes().await.unwrap().is_empty());
        let tag = head["etag"].to_str().unwrap();
        for known in [
            tag.to_owned(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
        ] {
            let response = http()
                .get(gateway.url(path))
                .header("if-none-match", known)
                .send()
                .await
                .unwrap();
            assert_eq!(
                (response.status(), &response.headers()["etag"]),
                (StatusCode::NOT_MODIFIED, &head["etag"])
            );
            assert!(response.bytes().await.unwrap().is_empty());
        }
        let response = http()
            .get(gateway.url(path))
            .header("if-none-match", "\"other\"")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let response = http().post(gateway.url(path)).send().await.unwrap();
        let (status, body) = (response.status(), response.bytes().await.unwrap());
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status.as_u16(), error["error"]["code"].as_str()),
            (405, Some("method_not_allowed"))
        );
    }
}

#[tokio::test]
async fn the_page_sends_requests_only_to_its_own_origin() {
    let gateway = locked().await;
    let response = http().get(gateway.url("/docs")).send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    for directive in policy.split("; ") {
        let mut words = directive.split(' ');
        let name = words.next().unwrap();
        for source in words {
            let is_ours = ["'self'", "'none'"].contains(&source);
            // A `data:` URL sends no request, and neither does an inline style.
            assert!(
                is_ours || directive == "img-src 'self' data:" || name == "style-src",
                "{directive}"
            );
            assert!(
                !source.contains("eval") && !source.contains("http"),
                "{directive}"
            );
        }
    }
    assert!(policy.starts_with("default-src 'none'"), "{policy}");

    let page = response.text().await.unwrap();
    let mut asked = 0;
    for address in ["src=\"", "href=\""]
        .iter()
        .flat_map(|name| page.split(name).skip(1))
    {
        let address = address.split('"').next().unwrap();
        if address != "data:," {
            let path = format!("/{address}");
            assert!(FILES.iter().any(|(file, _)| *file == path), "{address}");
            asked += 1;
        }
    }
    assert_eq!(asked, 4);
    let script = http()
        .get(gateway.url("/docs/page.js"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        script.contains("url: \"openapi.json\"") && !script.contains("://"),
        "{script}"
    );
}

#[tokio::test]
async fn the_files_of_the_page_are_sent_compressed() {
    let gateway = locked().await;
    for path in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let response = http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let bytes = response.bytes().await.unwrap();
        assert!(bytes.starts_with(b"\x1f\x8b\x08"), "{path}");
        // The last four bytes of a gzip member are the decompressed length.
        let length = u32::from_le_bytes(bytes[bytes.len() - 4..].try_into().unwrap()) as usize;
        assert!(length > 2 * bytes.len(), "{path}: {length}");
    }
}
