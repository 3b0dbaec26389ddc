//! Health, by HTTP and by `grpc.health.v1`.

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use crate::support::{Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt, rest::http};

async fn status(gateway: &Gateway, service: &str) -> i32 {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    HealthClient::new(gateway.channel().await)
        .check(request)
        .await
        .unwrap()
        .into_inner()
        .status
}

#[tokio::test]
async fn a_gateway_that_can_serve_is_ready() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for service in [
        "",
        "featherwire.v1.ChatService",
        "featherwire.v1.ModelService",
    ] {
        assert_eq!(
            status(&gateway, service).await,
            ServingStatus::Serving as i32,
            "{service:?}"
        );
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            http().get(gateway.url(path)).send().await.unwrap().status(),
            200
        );
    }
}

#[tokio::test]
async fn a_gateway_without_an_upstream_key_is_alive_but_not_ready() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.featherless_api_key = None
    })
    .await;
    assert_eq!(status(&gateway, "").await, ServingStatus::NotServing as i32);
    assert_eq!(
        http()
            .get(gateway.url("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let response = http().get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("FEATHERLESS_API_KEY")
    );
}

#[tokio::test]
async fn an_unknown_service_is_an_error_that_names_the_known_ones() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = HealthClient::new(gateway.channel().await);
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["featherwire.v1.ChatServise", "größe", &"x".repeat(3000)] {
        let checked = client.check(ask(service)).await.unwrap_err();
        let watched = client.watch(ask(service)).await.unwrap_err();
        for status in [checked, watched] {
            let info = status
                .get_error_details()
                .error_info()
                .cloned()
                .expect("an ErrorInfo");
            assert_eq!(
                (status.code(), &*info.reason, &*info.domain),
                (Code::NotFound, "UNKNOWN_SERVICE", "featherwire")
            );
            let quoted: String = service.chars().take(100).collect();
            assert!(status.message().contains(&quoted), "{status:?}");
            assert!(
                status.message().contains("featherwire.v1.ChatService"),
                "{status:?}"
            );
            assert!(status.message().len() < 1024, "{status:?}");
        }
    }
}

#[tokio::test]
async fn grpc_and_rest_share_one_port() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let request = prompt(MODEL, "hi");
    let (a, b, c) = tokio::join!(
        gateway.ask(Door::RestStream, &request),
        gateway.ask(Door::GrpcStream, &request),
        gateway.ask(Door::WebStream, &request)
    );
    assert!(a.ok().content == b.ok().content && !c.ok().content.is_empty());
}
