//! Paths that always stream: the REST equivalents of the streaming RPCs.

use serde_json::{Value, json};

use crate::support::{Emulator, Gateway, MODEL, rest::http};

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, String, String) {
    let response = gateway.post(path, body).await;
    let media_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    (
        response.status().as_u16(),
        media_type,
        response.text().await.unwrap(),
    )
}

#[tokio::test]
async fn a_path_that_ends_with_stream_streams_without_a_member_in_the_body() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for (path, mut body) in [
        (
            "/v1/chat/completions",
            json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}),
        ),
        ("/v1/completions", json!({"model": MODEL, "prompt": "Once"})),
    ] {
        let (status, media_type, whole) = post(&gateway, path, &body).await;
        assert_eq!(
            (status, media_type.as_str()),
            (200, "application/json"),
            "{path}: {whole}"
        );
        for stream in [None, Some(json!(null)), Some(json!(true))] {
            body.as_object_mut().unwrap().remove("stream");
            body.as_object_mut()
                .unwrap()
                .extend(stream.map(|stream| ("stream".to_owned(), stream)));
            let (status, media_type, events) =
                post(&gateway, &format!("{path}:stream"), &body).await;
            assert_eq!(
                (status, media_type.as_str()),
                (200, "text/event-stream"),
                "{body}: {events}"
            );
            assert!(
                events.starts_with("data: {") && events.ends_with("data: [DONE]\n\n"),
                "{body}: {events}"
            );
        }
        for stream in [json!(false), json!(1)] {
            body["stream"] = stream;
            let (status, _, error) = post(&gateway, &format!("{path}:stream"), &body).await;
            let error: Value = serde_json::from_str(&error).unwrap();
            assert_eq!(
                (status, &error["error"]["param"]),
                (400, &json!("stream")),
                "{body}: {error}"
            );
        }
        let get = http()
            .get(gateway.url(&format!("{path}:stream")))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (get.status().as_u16(), &get.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
    }
}
