//! Callers that stop reading: other callers need the units that they hold, so the gateway releases
//! the units after a time.

use std::time::Duration;

use featherwire::proto::v1::chat_service_client::ChatServiceClient;
use serde_json::json;
use tonic::{Code, Request, Status, transport::Channel};

use crate::support::{
    Gateway, MODEL, Reply, Scripted,
    door::message,
    prompt,
    scripted::{chunk, finish},
};

/// More data than all windows and buffers can hold, in events of a megabyte, and then silence.
fn flood() -> Reply {
    let large = "x".repeat(1_000_000);
    Reply::EventsThenSilence((0..FLOOD).map(|_| chunk(&large)).collect())
}

const FLOOD: usize = 50;

/// The largest part of it, in events, that the sockets and windows can hold.
const HELD_MAX: usize = 30;

#[tokio::test]
async fn a_caller_that_stops_reading_is_disconnected_and_the_upstream_call_closed() {
    let upstream = Scripted::always(flood()).await;
    let patience = Duration::from_millis(300);
    let gateway = Gateway::with(upstream.address, |config| config.write_timeout = patience).await;
    let response = gateway.open_stream(MODEL).await;
    assert_eq!(response.status(), 200);
    // The response is held and not read.
    upstream.wait_until_closed().await;
    assert!(
        upstream.written() < HELD_MAX,
        "a slow reader slows upstream down: {} MB",
        upstream.written()
    );
    drop(response);
}

/// A streamed call on this connection, whose answer is not read.
async fn unread(
    channel: &Channel,
    headers: &[(&'static str, &str)],
) -> Result<tonic::Streaming<impl Sized + use<>>, Status> {
    let mut request = Request::new(message(&prompt(MODEL, "hi")));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    Ok(ChatServiceClient::new(channel.clone())
        .stream_chat_completion(request)
        .await?
        .into_inner())
}

#[tokio::test]
async fn only_the_unread_stream_of_a_connection_is_reset() {
    let upstream = Scripted::first([flood(), Reply::Events(vec![chunk("b"), finish()])]).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.write_timeout = Duration::from_millis(300)
    })
    .await;
    let channel = gateway.channel().await;
    let held = unread(&channel, &[]).await.unwrap();
    upstream.wait_until_closed().await;
    assert!(
        upstream.written() < HELD_MAX,
        "a slow reader slows upstream down: {} MB",
        upstream.written()
    );
    let request = message(&prompt(MODEL, "hi"));
    let mut next = ChatServiceClient::new(channel)
        .stream_chat_completion(request)
        .await
        .unwrap()
        .into_inner();
    assert!(
        next.message().await.unwrap().is_some(),
        "the connection serves other calls"
    );
    drop(held);
}

#[tokio::test]
async fn a_deadline_ends_a_call_even_if_the_caller_does_not_read() {
    let upstream = Scripted::always(flood()).await;
    let gateway = Gateway::to(upstream.address).await;
    let channel = gateway.channel().await;
    // On a busy machine an answer may start too late. Then the deadline has passed, but not because
    // of an unread answer.
    let mut started = 0;
    for timeout in ["2000", "10000", "50000"] {
        // `grpc-timeout` is not used, because tonic's client would apply it itself.
        match unread(&channel, &[("x-request-timeout-ms", timeout)]).await {
            Ok(held) => {
                upstream.wait_until_closed().await;
                drop(held);
                started += 1;
                break;
            }
            Err(status) => assert_eq!(status.code(), Code::DeadlineExceeded),
        }
    }
    let mut request = prompt(MODEL, "hi");
    request["stream"] = json!(true);
    for timeout in ["2000", "10000", "50000"] {
        let held = gateway
            .post_request("/v1/chat/completions", &request)
            .header("x-request-timeout-ms", timeout)
            .send()
            .await
            .unwrap();
        if held.status() == 200 {
            upstream.wait_until_closed().await;
            drop(held);
            started += 1;
            break;
        }
        assert_eq!(held.status(), 504);
    }
    assert_eq!(started, 2, "both doors");
}
