//! Calls without a key: small requests to health and reflection, and only a few at a time.

use featherwire::error::Kind;
use http::HeaderValue;
use prost::Message;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::support::{
    Gateway, PATIENCE, Reply, Scripted,
    door::{frame, grpc_failure},
    rest::http,
};

const KEY: &str = "gw_live_1";

/// The limits for open calls of one connection, and for watches of all connections.
const CALLS_MAX: usize = 16;
const WATCHES_MAX: usize = 1024;

async fn locked(upstream: &Scripted) -> Gateway {
    Gateway::with(upstream.address, |config| {
        config.api_keys = vec![KEY.into()]
    })
    .await
}

async fn watch(
    channel: &Channel,
    key: &'static str,
) -> Result<Streaming<HealthCheckResponse>, Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    request
        .metadata_mut()
        .insert("x-api-key", key.parse().unwrap());
    let mut stream = HealthClient::new(channel.clone())
        .watch(request)
        .await?
        .into_inner();
    assert_eq!(stream.message().await?.unwrap().status, 1);
    Ok(stream)
}

fn assert_refused(refused: Result<Streaming<HealthCheckResponse>, Status>) {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let failure = grpc_failure(&status);
    assert!(
        failure.code == "too_many_open_calls" && failure.message.contains("Health/Watch"),
        "{failure:?}"
    );
    assert!(failure.retry_after_seconds.is_some());
}

fn list_services(length: usize) -> ServerReflectionRequest {
    let list = MessageRequest::ListServices("x".repeat(length));
    ServerReflectionRequest {
        message_request: Some(list),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_connection_has_few_calls_without_a_key_open() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = locked(&upstream).await;
    let channel = gateway.channel().await;
    let mut open = Vec::new();
    for _ in 0..CALLS_MAX {
        open.push(watch(&channel, "wrong").await.unwrap());
    }
    let status = watch(&channel, "wrong").await.unwrap_err();
    let failure = grpc_failure(&status);
    assert_eq!(
        (status.code(), failure.code.as_str()),
        (Code::ResourceExhausted, "too_many_open_calls")
    );
    assert!(
        failure.message.contains("16") && failure.message.contains("key"),
        "{failure:?}"
    );
    let refused = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let _with_key = watch(&channel, KEY)
        .await
        .expect("calls with a key are not counted");
    let _elsewhere = watch(&gateway.channel().await, "wrong")
        .await
        .expect("nor are those of other connections");
    open.pop();
    let again = async { while watch(&channel, "wrong").await.is_err() {} };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("a place is given back");
}

#[tokio::test]
async fn all_connections_together_have_few_calls_without_a_key_open() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = locked(&upstream).await;
    let mut open = Vec::new();
    for _ in 0..WATCHES_MAX / CALLS_MAX {
        let channel = gateway.channel().await;
        let watches = (0..CALLS_MAX).map(|_| watch(&channel, "wrong"));
        open.extend(futures_util::future::try_join_all(watches).await.unwrap());
    }
    let channel = gateway.channel().await;
    assert_refused(watch(&channel, "wrong").await);
    let _with_key = watch(&channel, KEY).await.unwrap();
    let check = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await;
    assert_eq!(
        check.unwrap().into_inner().status,
        1,
        "single questions are answered"
    );
    drop(open);
    let again = async { while watch(&channel, "wrong").await.is_err() {} };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("their places are given back");
}

#[tokio::test]
async fn without_a_key_a_large_request_is_refused_and_a_long_name_is_not() {
    let upstream = Scripted::always(Reply::Silence).await;
    for gateway in [locked(&upstream).await, Gateway::to(upstream.address).await] {
        let channel = gateway.channel().await;
        let check = |length: usize| {
            let mut client = HealthClient::new(channel.clone());
            async move {
                client
                    .check(HealthCheckRequest {
                        service: "x".repeat(length),
                    })
                    .await
                    .unwrap_err()
            }
        };
        assert_eq!(check(3000).await.code(), Code::NotFound);
        for length in [5000, 100_000, 3_000_000] {
            let failure = grpc_failure(&check(length).await);
            assert!(failure.kinds.contains(&Kind::TooLarge), "{failure:?}");
            assert!(
                failure.code == "request_too_large" && failure.message.contains("4096"),
                "{failure:?}"
            );
        }
        for lengths in [vec![5000], vec![0, 5000], vec![3000, 0, 2_000_000, 0]] {
            let requests = tokio_stream::iter(lengths.into_iter().map(list_services));
            let mut client = ServerReflectionClient::new(channel.clone());
            let mut stream = client
                .server_reflection_info(requests)
                .await
                .unwrap()
                .into_inner();
            let status = loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a refused stream doesn't end well"),
                    Err(status) => break status,
                }
            };
            let failure = grpc_failure(&status);
            assert_eq!(failure.code, "request_too_large", "{failure:?}");
        }
    }
}

#[tokio::test]
async fn without_a_key_a_large_request_is_refused_by_grpc_web_too() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = locked(&upstream).await;
    let question = HealthCheckRequest {
        service: "x".repeat(5000),
    };
    let post = http().post(gateway.url("/grpc.health.v1.Health/Check"));
    let post = post
        .header("content-type", "application/grpc-web+proto")
        .body(frame(&question.encode_to_vec()));
    let answer = post.send().await.unwrap();
    assert_eq!(
        answer.headers().get("grpc-status"),
        Some(&HeaderValue::from_static("8"))
    );
}
