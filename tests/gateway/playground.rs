//! The files of the playground: available without a key, small, and closed to everything else.

use std::io::Read;

use http::StatusCode;

use crate::support::{Gateway, Reply, Scripted, rest::http};

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", "index.html"),
    ("/app.js", "text/javascript; charset=utf-8", "app.js"),
    ("/app.css", "text/css; charset=utf-8", "app.css"),
    ("/icon.svg", "image/svg+xml", "icon.svg"),
];

/// What the page may take over the network, in bytes.
const BYTES_MAX: usize = 150_000;

const POLICY: [&str; 10] = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data: blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
];

async fn locked() -> Gateway {
    let upstream = Scripted::always(Reply::Silence).await;
    Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await
}

#[tokio::test]
async fn the_files_of_the_playground_need_no_key_and_are_those_of_the_repository() {
    let gateway = locked().await;
    let mut sent = 0;
    for (path, media_type, file) in FILES {
        let ask = || http().get(gateway.url(path)).header("accept", "text/html");
        let response = ask().send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let head = response.headers().clone();
        assert_eq!(head["content-type"], media_type);
        assert_eq!(head["x-content-type-options"], "nosniff");
        let policy = head["content-security-policy"].to_str().unwrap();
        assert_eq!(policy.split("; ").collect::<Vec<_>>(), POLICY, "{path}");
        let bytes = response.bytes().await.unwrap();
        sent += bytes.len();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/");
        let committed = std::fs::read(format!("{folder}{file}")).unwrap();
        let is_gzip = head
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip");
        let plain = match is_gzip {
            true => gunzip(&bytes),
            false => bytes.to_vec(),
        };
        assert_eq!(plain, committed, "{path}");

        let known = ask().header("if-none-match", head["etag"].clone());
        let known = known.send().await.unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        let post = http().post(gateway.url(path)).send().await.unwrap();
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(sent < BYTES_MAX, "the page takes {sent} bytes");
}

#[tokio::test]
async fn the_page_names_only_its_own_files_and_has_no_script_or_style_in_itself() {
    let gateway = locked().await;
    let page = http().get(gateway.url("/")).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    let mut named = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in page.split(attribute).skip(1) {
            let address = rest.split('"').next().unwrap();
            // Relative, so that it also works behind a proxy that adds a path.
            let path = address.strip_prefix('.').unwrap();
            assert!(FILES.iter().any(|(file, ..)| *file == path), "{address}");
            named += 1;
        }
    }
    assert_eq!(named, 3);
    assert!(
        !page.contains("<style") && !page.contains("style="),
        "{page}"
    );
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\"").count()
    );
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    decoder.read_to_end(&mut plain).unwrap();
    plain
}
