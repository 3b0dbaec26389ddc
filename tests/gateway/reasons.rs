//! The reasons of errors: the contract's enum is compared with the codes in the source and in the
//! documents. The details of errors are tested too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use featherwire::{error::ErrorCode, proto::v1::chat_service_client::ChatServiceClient};
use serde_json::json;
use tonic_types::StatusExt;

use crate::{
    key_limits::{channel, with_key, with_secret},
    support::{Gateway, MODEL, Reply, Scripted, door::message, law, prompt},
};

/// The codes of the enum.
fn of_the_contract() -> BTreeSet<String> {
    let reasons = law::pool()
        .get_enum_by_name("featherwire.v1.ErrorReason")
        .unwrap();
    let names = reasons.values().map(|value| {
        value
            .name()
            .strip_prefix("ERROR_REASON_")
            .unwrap()
            .to_lowercase()
    });
    names.filter(|name| name != "unspecified").collect()
}

/// All Rust files of the gateway itself.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if entry.is_dir() && !entry.ends_with("emulator") {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn the_enum_has_the_codes_of_the_source_and_of_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = of_the_contract();
    let codes: BTreeSet<String> = ErrorCode::ALL
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    assert_eq!(
        codes, known,
        "ErrorCode and ErrorReason list the same codes"
    );
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let mut written = String::new();
    for file in files.iter().filter(|file| !file.ends_with("error/code.rs")) {
        let text = fs::read_to_string(file).unwrap();
        // Tests use invented errors.
        written.push_str(text.split("#[cfg(test)]").next().unwrap());
    }
    for code in ErrorCode::ALL {
        let is_used = written.contains(&format!("ErrorCode::{code:?}"));
        assert!(
            is_used || *code == ErrorCode::Cancelled,
            "{code}: no error in the source has this code"
        );
    }
    let readme = fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("_error` |"));
    let codes: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(5).unwrap().split('`').skip(1).step_by(2))
        .collect();
    for code in codes {
        assert!(
            known.contains(code),
            "{code} of the table in docs/errors.md"
        );
    }
}

#[tokio::test]
async fn the_metadata_of_an_error_has_the_model_the_limit_and_retry() {
    let refusal = "This user has 10 active units; this request requires 2 units (limit: 10, over \
                   by 2).";
    let units = json!({"error": {"message": refusal,
        "type": "invalid_request_error", "param": null, "code": "concurrency_limit_exceeded"}});
    let cold = json!({"error": {"message": "not ready for inference", "code": "model_not_ready"}});
    let own = json!({"error": {"message": "m", "code": "Some Odd-Code"}});
    for (status, body, reason, expected) in [
        (
            400,
            cold,
            "MODEL_NOT_READY",
            &[("model", MODEL), ("retry", "later")][..],
        ),
        (
            429,
            units,
            "CONCURRENCY_LIMIT_EXCEEDED",
            &[("limit", "10"), ("model", MODEL), ("retry", "soon")],
        ),
        (
            400,
            own,
            "UPSTREAM_REFUSED",
            &[("model", MODEL), ("retry", "never")],
        ),
        (
            500,
            json!({}),
            "UPSTREAM_ERROR",
            &[("model", MODEL), ("retry", "soon")],
        ),
    ] {
        let upstream = Scripted::always(Reply::Json(status, body)).await;
        let gateway = Gateway::with(upstream.address, |config| config.upstream.retries = 0).await;
        let mut client = gateway.grpc().await;
        let request = message(&prompt(MODEL, "hi"));
        for status in [
            client
                .create_chat_completion(request.clone())
                .await
                .unwrap_err(),
            client.stream_chat_completion(request).await.unwrap_err(),
        ] {
            let info = status.get_error_details().error_info().unwrap().clone();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason, "featherwire")
            );
            let mut metadata: Vec<_> = info
                .metadata
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            metadata.sort_unstable();
            assert_eq!(metadata, expected, "{reason}");
        }
    }
    let gateway = Gateway::with(
        Scripted::always(Reply::Json(200, json!({}))).await.address,
        |config| {
            config.max_request_bytes = bytesize::ByteSize(1000);
        },
    )
    .await;
    let large = message(&prompt(MODEL, &"x".repeat(2000)));
    let status = gateway
        .grpc()
        .await
        .create_chat_completion(large)
        .await
        .unwrap_err();
    let info = status.get_error_details().error_info().unwrap().clone();
    assert_eq!(
        (
            info.metadata["limit"].as_str(),
            info.metadata["retry"].as_str()
        ),
        ("1000", "never")
    );
}

#[tokio::test]
async fn the_error_of_a_cut_stream_has_the_model_too() {
    let chunk = json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0,
        "delta": {"content": "a"}}]});
    let upstream = Scripted::always(Reply::Events(vec![chunk.to_string()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut chunks = gateway
        .grpc()
        .await
        .stream_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap()
        .into_inner();
    assert!(chunks.message().await.unwrap().is_some());
    let status = chunks.message().await.unwrap_err();
    let info = status.get_error_details().error_info().unwrap().clone();
    assert_eq!(
        (info.reason.as_str(), info.metadata["model"].as_str()),
        ("UPSTREAM_STREAM_CUT", MODEL)
    );
}

#[tokio::test]
async fn a_key_is_told_whether_its_limit_renews_soon_later_or_never() {
    for (limit, expected) in [
        (["--requests-per-minute", "1"], Some("soon")),
        // Within the last minute of a month it renews soon.
        (["--budget", "requests=1/month"], None),
        (["--budget", "requests=1/total"], Some("never")),
    ] {
        let (_child, address, secret) = with_key(&limit, &[]).await;
        let mut client = ChatServiceClient::new(channel(&address).await);
        let mut call = async || {
            let request = with_secret(message(&prompt(MODEL, "hi")), &secret);
            client.create_chat_completion(request).await
        };
        call().await.unwrap();
        let refused = call().await.unwrap_err();
        let details = refused.get_error_details();
        let retry = details.error_info().unwrap().metadata["retry"].clone();
        let wait = details.retry_info().and_then(|info| info.retry_delay);
        let by_wait = match wait {
            None => "never",
            Some(wait) if wait.as_secs() < 60 => "soon",
            Some(_) => "later",
        };
        assert_eq!(retry, expected.unwrap_or(by_wait), "{limit:?} {wait:?}");
        assert_eq!(retry, by_wait, "{limit:?} {wait:?}");
    }
}
