//! Paths that clients request by mistake, and paths that browsers request by themselves.

use serde_json::Value;

use crate::support::{Emulator, Gateway, MODEL, Reply, Scripted, rest::http};

/// The error of the 404 for this path.
async fn message(gateway: &Gateway, method: &str, path: &str) -> String {
    let response = http()
        .request(method.parse().unwrap(), gateway.url(path))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404, "{method} {path}");
    let error: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "unknown_path", "{method} {path}");
    error["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_error_about_a_wrong_base_url_names_the_right_one() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let right = format!("the base URL ends in /v1, {} here", gateway.url("/v1"));
    for (method, path, why) in [
        ("POST", "/chat/completions", "it lacks the /v1"),
        ("POST", "/completions", "it lacks the /v1"),
        ("POST", "/embeddings", "it lacks the /v1"),
        ("POST", "/tokenize", "it lacks the /v1"),
        ("GET", "/models", "it lacks the /v1"),
        ("GET", "/models/org/name", "it lacks the /v1"),
        ("POST", "/v1/v1/chat/completions", "it has the /v1 twice"),
        ("GET", "/v1/v1/models", "it has the /v1 twice"),
        (
            "POST",
            "/v1/chat/completions/chat/completions",
            "it continues after the /v1",
        ),
        (
            "POST",
            "/v1/chat/completions/completions",
            "it continues after the /v1",
        ),
        (
            "POST",
            "/api/v1/chat/completions",
            "it has something before the /v1",
        ),
        ("GET", "/api/v1/models", "it has something before the /v1"),
        (
            "POST",
            "/openai/v1/chat/completions",
            "it has something before the /v1",
        ),
        ("POST", "/v2/chat/completions", "it does not end in /v1"),
        ("GET", "/v2/models", "it does not end in /v1"),
        ("POST", "/api/chat/completions", "it does not end in /v1"),
        ("POST", "//chat/completions", "it lacks the /v1"),
    ] {
        let message = message(&gateway, method, path).await;
        assert!(
            message.contains(why) && message.contains(&right),
            "{path}: {message}"
        );
    }
    for (path, right) in [
        (
            "//v1/chat/completions",
            "Write /v1/chat/completions, with single slashes",
        ),
        (
            "/v1//chat/completions",
            "Write /v1/chat/completions, with single slashes",
        ),
        (
            "/v1/chat/completions/",
            "Write /v1/chat/completions, without a slash at its end",
        ),
        (
            "/v1/models/",
            "Write /v1/models, without a slash at its end",
        ),
        (
            "/V1/Chat/Completions",
            "Write /v1/chat/completions, in lower case",
        ),
        (
            "/V1/models/Org/Name",
            "Write /v1/models/Org/Name, in lower case",
        ),
        ("/v1", "This is the base URL"),
        ("/v1/", "This is the base URL"),
    ] {
        let message = message(&gateway, "POST", path).await;
        assert!(message.contains(right), "{path}: {message}");
    }
    assert!(upstream.requests().is_empty(), "no path is rewritten");
}

#[tokio::test]
async fn behind_a_proxy_that_ends_tls_the_right_base_url_is_https() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (forwarded_proto, scheme) in [
        ("https", "https"),
        ("HTTPS, http", "https"),
        ("http", "http"),
        ("http, https", "http"),
    ] {
        let ask = http()
            .post(gateway.url("/chat/completions"))
            .header("x-forwarded-proto", forwarded_proto);
        let message = ask.send().await.unwrap().text().await.unwrap();
        let right = format!(
            "the base URL ends in /v1, {} here",
            gateway.url("/v1").replace("http", scheme)
        );
        assert!(message.contains(&right), "{forwarded_proto}: {message}");
    }
}

#[tokio::test]
async fn an_error_for_a_path_of_another_api_under_a_wrong_base_url_names_the_right_url() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (path, what) in [
        ("/openai/v1/responses", "Responses API"),
        ("/api/v1/messages", "Anthropic's API"),
    ] {
        assert!(
            message(&gateway, "POST", path).await.contains(what),
            "{path}"
        );
    }
}

#[tokio::test]
async fn errors_for_paths_of_other_apis_name_the_right_url() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let compatible = "\"OpenAI compatible\" provider";
    for (method, path, words) in [
        ("POST", "/v1/responses", "OpenAIChatCompletionsModel"),
        ("POST", "/v1/responses", "createOpenAICompatible"),
        ("POST", "/responses", "client.chat.completions.create"),
        ("GET", "/v1/responses/resp_1", "Responses API"),
        ("POST", "/v1/messages", "Anthropic"),
        ("POST", "/v1/messages/count_tokens", "Anthropic"),
        ("POST", "/v1/complete", "Anthropic"),
        (
            "POST",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-06-01",
            "not AzureOpenAI",
        ),
        ("POST", "/api/chat", compatible),
        ("POST", "/api/generate", "Ollama"),
        ("GET", "/api/tags", "Ollama"),
        (
            "POST",
            "/v1beta/models/gemini-pro:generateContent",
            "Gemini",
        ),
        (
            "POST",
            "/v1/engines/davinci/completions",
            "the member model of POST /v1/completions",
        ),
        (
            "POST",
            "/v1/audio/transcriptions",
            "turn this feature of the client off",
        ),
        ("POST", "/v1/images/generations", "turn this feature"),
        ("POST", "/v1/moderations", "turn this feature"),
        ("POST", "/v1/assistants", "turn this feature"),
        ("POST", "/v1/threads/x/runs", "turn this feature"),
        ("GET", "/v1/files", "turn this feature"),
        ("POST", "/v1/batches", "turn this feature"),
        ("POST", "/v1/rerank", "reranking"),
        ("GET", "/health", "GET /healthz"),
    ] {
        let message = message(&gateway, method, path).await;
        assert!(
            message.contains(words) && message.contains("GET /docs"),
            "{path}: {message}"
        );
    }
    let post = http().post(gateway.url("/v1/models/gemini-pro:generateContent"));
    let response = post.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET,HEAD".parse().unwrap())
    );
    assert!(response.text().await.unwrap().contains("Gemini"));
}

#[tokio::test]
async fn browsers_get_the_playground_and_their_icon_without_a_key() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let get = async |path: &str, accept: &str| {
        http()
            .get(gateway.url(path))
            .header("accept", accept)
            .send()
            .await
            .unwrap()
    };
    let page = get("/", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["vary"]),
        (200, &"accept".parse().unwrap())
    );
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("app.js"));
    for accept in ["*/*", "application/json"] {
        let message = get("/", accept).await;
        assert_eq!(
            (message.status().as_u16(), &message.headers()["vary"]),
            (200, &"accept".parse().unwrap())
        );
        let message: Value = serde_json::from_slice(&message.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (&message["base_url"], &message["docs"]),
            (&Value::from("/v1"), &Value::from("/docs"))
        );
    }
    let slash = get("/docs/", "text/html").await;
    assert_eq!(
        (slash.status().as_u16(), &slash.headers()["location"]),
        (307, &"../docs".parse().unwrap())
    );
    let icon = get("/favicon.ico", "image/*").await;
    assert_eq!(
        (icon.status().as_u16(), &icon.headers()["content-type"]),
        (200, &"image/svg+xml".parse().unwrap())
    );
    assert!(icon.headers().contains_key("cache-control"));
}

#[tokio::test]
async fn head_is_answered_wherever_get_is_with_the_same_head_and_no_body() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let model = format!("/v1/models/{MODEL}");
    let encoded = format!("/v1/models/{}", MODEL.replace('/', "%2F"));
    for path in [
        "/",
        "/app.js",
        "/app.css",
        "/icon.svg",
        "/docs",
        "/docs/",
        "/docs/page.js",
        "/docs/swagger-ui.css",
        "/favicon.ico",
        "/openapi.json",
        "/healthz",
        "/readyz",
        "/v1/models",
        "/v1/models?q=gemma",
        &model,
        &encoded,
        "/v1/models/no/model",
        "/v1/plan",
        "/x",
    ] {
        let get = http().get(gateway.url(path)).send().await.unwrap();
        let head = http().head(gateway.url(path)).send().await.unwrap();
        assert_eq!(get.status(), head.status(), "{path}");
        for name in [
            "content-type",
            "content-length",
            "content-encoding",
            "etag",
            "location",
            "vary",
        ] {
            // The error for an unknown path names the method.
            if !(name == "content-length" && path == "/x") {
                assert_eq!(
                    get.headers().get(name),
                    head.headers().get(name),
                    "{path} {name}"
                );
            }
        }
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    let watch = http()
        .head(gateway.url("/v1/concurrency/stream"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (watch.status().as_u16(), &watch.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    for (method, path, allow) in [
        ("DELETE", "/v1/models", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
        ("PUT", "/docs/", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("HEAD", "/v1/chat/completions", "POST"),
        ("GET", "/v1/tokenize", "POST"),
    ] {
        let response = http()
            .request(method.parse().unwrap(), gateway.url(path))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["allow"].to_str().unwrap()
            ),
            (405, allow),
            "{path}"
        );
    }
}
