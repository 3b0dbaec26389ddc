//! Text completions, embeddings and tokens, by REST and by gRPC.

use featherwire::proto::v1::{
    CreateCompletionRequest, CreateEmbeddingRequest, StringList, TokenList, TokenLists,
    TokenizeRequest, completion_service_client::CompletionServiceClient,
    create_completion_request::PromptKind, create_embedding_request::InputKind,
    embedding::EmbeddingKind, embedding_service_client::EmbeddingServiceClient,
    model_service_client::ModelServiceClient,
};
use serde_json::{Value, json};

use crate::support::{
    Emulator, Gateway, MODEL, Reply, Scripted,
    door::grpc_failure,
    rest::{post, status_and_json},
};

const EMBEDDING_MODEL: &str = "BAAI/bge-m3";

#[tokio::test]
async fn every_door_gives_the_same_text_completion() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let body = json!({
        "model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "provider": "featherless",
    });
    let (status, whole) = gateway.post_json("/v1/completions", &body).await;
    assert_eq!((status, &whole["object"]), (200, &json!("text_completion")));
    let text = whole["choices"][0]["text"].as_str().unwrap();
    assert!(!text.is_empty() && whole["usage"]["total_tokens"].is_u64());
    assert!(
        whole["choices"][0]
            .as_object()
            .unwrap()
            .contains_key("logprobs"),
        "required, and null"
    );

    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let events = gateway
        .post("/v1/completions", &streamed)
        .await
        .text()
        .await
        .unwrap();
    let events: Vec<_> = events
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let joined: String = events[..events.len() - 1]
        .iter()
        .map(|event| {
            let chunk: Value = serde_json::from_str(event).unwrap();
            assert_eq!(chunk["object"], "text_completion");
            chunk["choices"][0]["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(joined, text);

    let mut client = CompletionServiceClient::new(gateway.channel().await);
    let request = CreateCompletionRequest {
        model: MODEL.to_owned(),
        prompt_kind: Some(PromptKind::Prompt("Once upon a time".to_owned())),
        max_tokens: Some(12),
        ..CreateCompletionRequest::default()
    };
    let answer = client
        .create_completion(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.choices[0].text, text);
    let mut stream = client
        .stream_completion(request)
        .await
        .unwrap()
        .into_inner();
    let mut joined = String::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        joined.extend(chunk.choices.into_iter().map(|choice| choice.text));
    }
    assert_eq!(joined, text);
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn every_kind_of_prompt_and_input_reaches_the_upstream_unchanged() {
    let choice = json!({"index": 0, "text": "x", "finish_reason": "stop"});
    let completion = json!({
        "id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice],
    });
    let embedding =
        json!({"object": "list", "model": "m", "data": [{"index": 0, "embedding": [1]}]});
    let kinds = [
        (
            json!("a"),
            PromptKind::Prompt("a".to_owned()),
            InputKind::Input("a".to_owned()),
        ),
        (
            json!(["a", "b"]),
            PromptKind::PromptStrings(StringList {
                values: vec!["a".to_owned(), "b".to_owned()],
            }),
            InputKind::InputStrings(StringList {
                values: vec!["a".to_owned(), "b".to_owned()],
            }),
        ),
        (
            json!([1, 2]),
            PromptKind::PromptTokens(TokenList { values: vec![1, 2] }),
            InputKind::InputTokens(TokenList { values: vec![1, 2] }),
        ),
        (
            json!([[1], [2, 3]]),
            PromptKind::PromptTokenLists(TokenLists {
                values: vec![
                    TokenList { values: vec![1] },
                    TokenList { values: vec![2, 3] },
                ],
            }),
            InputKind::InputTokenLists(TokenLists {
                values: vec![
                    TokenList { values: vec![1] },
                    TokenList { values: vec![2, 3] },
                ],
            }),
        ),
    ];
    for (value, prompt, input) in kinds {
        let upstream = Scripted::always(Reply::Json(200, completion.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        let body = json!({"model": "m", "prompt": value});
        let (status, answer) = gateway.post_json("/v1/completions", &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        let request = CreateCompletionRequest {
            model: "m".to_owned(),
            prompt_kind: Some(prompt),
            ..Default::default()
        };
        CompletionServiceClient::new(gateway.channel().await)
            .create_completion(request)
            .await
            .unwrap();
        let by_rest_and_grpc = upstream.requests();
        assert_eq!(by_rest_and_grpc.len(), 2, "{body}");
        for seen in by_rest_and_grpc {
            assert!(
                seen.head.starts_with("POST /v1/completions "),
                "{}",
                seen.head
            );
            assert_eq!(
                seen.json(),
                json!({"model": "m", "prompt": value, "stream": false})
            );
        }

        let upstream = Scripted::always(Reply::Json(200, embedding.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        let body = json!({"model": "m", "input": value});
        let (status, answer) = gateway.post_json("/v1/embeddings", &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        let request = CreateEmbeddingRequest {
            model: "m".to_owned(),
            input_kind: Some(input),
            ..Default::default()
        };
        EmbeddingServiceClient::new(gateway.channel().await)
            .create_embedding(request)
            .await
            .unwrap();
        let by_rest_and_grpc = upstream.requests();
        assert_eq!(by_rest_and_grpc.len(), 2, "{body}");
        for seen in by_rest_and_grpc {
            assert!(
                seen.head.starts_with("POST /v1/embeddings "),
                "{}",
                seen.head
            );
            assert_eq!(seen.json(), json!({"model": "m", "input": value}));
        }
    }
}

#[tokio::test]
async fn embeddings_are_sent_as_numbers_and_as_base64() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let body = json!({"model": EMBEDDING_MODEL, "input": ["a", "b"], "dimensions": 16});
    let upstream = format!("http://{}/v1/embeddings", emulator.address);
    let direct = post(upstream, body.to_string()).bearer_auth("any").send();
    let (status, direct) = status_and_json(direct.await.unwrap()).await;
    assert_eq!(status, 200, "{direct}");
    let (status, numbers) = gateway.post_json("/v1/embeddings", &body).await;
    assert_eq!((status, &numbers), (200, &direct), "not a digit is lost");
    assert_eq!(
        numbers["data"][1]["embedding"].as_array().unwrap().len(),
        16
    );

    let mut body = body.clone();
    body["encoding_format"] = json!("base64");
    let (status, text) = gateway.post_json("/v1/embeddings", &body).await;
    assert_eq!(status, 200, "{text}");
    assert!(text["data"][0]["embedding"].is_string());

    let mut client = EmbeddingServiceClient::new(gateway.channel().await);
    let mut request = CreateEmbeddingRequest {
        model: EMBEDDING_MODEL.to_owned(),
        input_kind: Some(InputKind::Input("a".to_owned())),
        dimensions: Some(16),
        ..Default::default()
    };
    let answer = client
        .create_embedding(request.clone())
        .await
        .unwrap()
        .into_inner();
    let Some(EmbeddingKind::Vector(vector)) = &answer.data[0].embedding_kind else {
        panic!("{answer:?}")
    };
    let expected: Vec<f64> = numbers["data"][0]["embedding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect();
    assert_eq!(vector.values, expected);
    request.encoding_format = Some("base64".to_owned());
    let answer = client.create_embedding(request).await.unwrap().into_inner();
    assert!(matches!(
        answer.data[0].embedding_kind,
        Some(EmbeddingKind::Base64(_))
    ));
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn a_text_is_split_into_tokens() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (status, tokens) = gateway
        .post_json(
            "/v1/tokenize",
            &json!({"model": MODEL, "text": "Hello there, world"}),
        )
        .await;
    assert_eq!(status, 200);
    let request = TokenizeRequest {
        model: MODEL.to_owned(),
        text: Some("Hello there, world".to_owned()),
        ..Default::default()
    };
    let answer = ModelServiceClient::new(gateway.channel().await)
        .tokenize(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(json!(answer.tokens), tokens["tokens"]);
    assert!(answer.tokens.len() > 2);
}

#[tokio::test]
async fn an_error_about_a_missing_or_bad_member_names_it() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for (path, body, param) in [
        ("/v1/completions", json!({"prompt": "a"}), "model"),
        ("/v1/completions", json!({"model": MODEL}), "prompt"),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": 5}),
            "prompt",
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": ["a", 1]}),
            "prompt[1]",
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": "a", "best_of": 21}),
            "best_of",
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": "a", "provider": "x"}),
            "provider",
        ),
        ("/v1/embeddings", json!({"model": MODEL}), "input"),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": "a", "dimensions": 0}),
            "dimensions",
        ),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": [[1], "a"]}),
            "input[1]",
        ),
        ("/v1/tokenize", json!({"text": "a"}), "model"),
        ("/v1/tokenize", json!({"model": MODEL}), "text"),
    ] {
        let (status, error) = gateway.post_json(path, &body).await;
        assert_eq!(
            (status, error["error"]["param"].as_str()),
            (400, Some(param)),
            "{body}: {error}"
        );
    }
    let mut client = CompletionServiceClient::new(gateway.channel().await);
    let status = client
        .create_completion(CreateCompletionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(grpc_failure(&status).param.as_deref(), Some("model"));
}
