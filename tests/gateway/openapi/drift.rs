//! The committed OpenAPI document, which readers of the repository and generators of clients use
//! without a build.

/// The document of this build.
const BUILT: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.readable.json"));

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

#[test]
fn the_committed_document_is_the_one_of_this_build() {
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(COMMITTED, BUILT).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    // Git may have written it with the line ends of another system.
    if committed.lines().eq(BUILT.lines()) {
        return;
    }
    let same = committed
        .lines()
        .zip(BUILT.lines())
        .take_while(|(committed, built)| committed == built)
        .count();
    panic!(
        "docs/openapi.json differs from the document of this build, from line {} on. If the \
         contract was changed on purpose, renew the file and commit it:\n\n    RENEW=1 cargo test \
         --test gateway openapi::drift\n",
        same + 1
    );
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let built: serde_json::Value = serde_json::from_str(BUILT).unwrap();
    let served: serde_json::Value = serde_json::from_str(featherwire::proto::OPENAPI).unwrap();
    assert!(built == served, "the two forms of the document differ");
}
