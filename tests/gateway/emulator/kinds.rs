//! Each kind of model answers its own requests, and refuses others.

use serde_json::{Value, json};

use super::support::{EMBEDDING_MODEL, MODEL, Peer, VISION_MODEL, ask_model};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_chat_model_makes_no_embeddings_and_an_embedding_model_no_text() {
    let peer = Peer::start().await;
    for (path, model) in [
        ("/v1/embeddings", MODEL),
        ("/v1/embeddings", VISION_MODEL),
        (CHAT, EMBEDDING_MODEL),
        ("/v1/completions", EMBEDDING_MODEL),
    ] {
        let request = json!({
            "model": model, "input": "x", "prompt": "x", "messages": [{"role": "user",
            "content": "x"}],
        });
        let reply = peer.post(path, &request).await;
        assert_eq!(
            reply.refusal(),
            (400, "model_not_supported".to_owned()),
            "{path} {model}"
        );
        let error = reply.json()["error"].clone();
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!("model"), &json!("invalid_request_error"))
        );
        assert!(error["message"].as_str().unwrap().contains(model));
    }
    for (model, dimensions) in [
        (EMBEDDING_MODEL, 1024),
        ("Qwen/Qwen3-Embedding-8B", 4096),
        ("Qwen/Qwen3-Embedding-0.6B", 1024),
    ] {
        let answer = peer
            .post("/v1/embeddings", &json!({"model": model, "input": "x"}))
            .await
            .json();
        assert_eq!(
            answer["data"][0]["embedding"].as_array().unwrap().len(),
            dimensions,
            "{model}"
        );
        assert!(
            peer.post("/v1/tokenize", &json!({"model": model, "text": "x"}))
                .await
                .json()["tokens"]
                .is_array()
        );
    }
    peer.until_used(0).await;
}

fn ask_image(model: &str) -> Value {
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    json!({"model": model, "messages": [{"role": "user", "content": [{"type": "text",
        "text": "What?"}, image]}]})
}

#[tokio::test]
async fn only_a_vision_model_accepts_images() {
    let peer = Peer::start().await;
    let list = peer.get("/v1/models", None).await.json();
    let mut seeing = 0;
    for model in list["data"].as_array().unwrap() {
        let id = model["id"].as_str().unwrap();
        let reply = peer.post(CHAT, &ask_image(id)).await;
        if model["features"]["image_input"] == true {
            seeing += 1;
            assert!(
                reply.status == 200 && reply.text.contains("1 image"),
                "{id}: {}",
                reply.text
            );
        } else {
            assert_eq!(reply.status, 400, "{id}");
            assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
        }
    }
    assert_eq!(seeing, 2);
    let refused = peer.post(CHAT, &ask_image(MODEL)).await;
    assert!(
        refused.text.contains("does not support image input"),
        "{}",
        refused.text
    );
    assert_eq!(
        peer.post(CHAT, &ask_model(MODEL, "What?")).await.status,
        200
    );
}
