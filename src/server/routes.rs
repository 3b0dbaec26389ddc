//! The routes, and the list of layers of each kind of route, outermost first. All requests pass
//! [`front`](super::front) before.
//! - `/healthz`, `/readyz`, `/docs`, `/openapi.json`, `/`: no layers, no key.
//! - gRPC: `only_grpc`, gRPC-Web, and then
//!   - health and reflection, without a key: `keyless` limits, `messages`.
//!   - the services: `read_timeout`, `refuse_in_drain`, `auth`, `messages`, `count`, `large_message`; for
//!     `ModelService` also `compress`.
//! - REST: `refuse_in_drain`, `auth`, `count`, `negotiate`.
//! - Unknown paths: an error in the caller's protocol.
//!
//! `refuse_in_drain` refuses new calls during the drain, `auth` calls without a key. `messages` checks the
//! messages of a gRPC request, and `count` counts the bytes of a body. `refuse_in_drain` comes first because
//! it is cheap, `auth` before anything that reads the body. The layers of a route are one list.
//! Each further call of `Router::layer` would add one more boxed service around each route.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
};
use tonic_web::GrpcWebLayer;
use tower::{ServiceBuilder, util::MapRequestLayer};

use super::{
    auth, cors, count_bytes,
    front::Front,
    gate::gate,
    keyless::{self, KeylessLimits},
    readiness::Readiness,
};
use crate::{
    config,
    error::Result,
    grpc::{
        self, descriptor_set, large_message, methods::Methods, read_timeout, reflection,
        request::MessageChecks,
    },
    rest,
    service::{ActiveCalls, Services, inflight_bytes::InflightBytes},
};

/// All routes of the server.
pub(super) fn front(
    config: &config::Serve,
    services: Services,
    readiness: &Readiness,
    active_calls: &ActiveCalls,
) -> Result<Front> {
    let bytes_max = usize::try_from(config.max_request_bytes.as_u64()).unwrap_or(usize::MAX);
    let inflight = InflightBytes::new(config.inflight_request_bytes_max());
    let keys = auth::Keys::new(&config.api_keys, &config.units.key_weights);

    let files = descriptor_set::files()?;
    let methods = Arc::new(Methods::new(&files));

    let (gate_readiness, gate_keys) = (readiness.clone(), keys.clone());
    let refuse_in_drain = gate(move |_: &mut Request| gate_readiness.check());
    let auth = gate(move |request: &mut Request| auth::check(&gate_keys, request));
    let count = {
        let inflight = inflight.clone();
        MapRequestLayer::new(move |request| count_bytes::count(&inflight, request))
    };
    let messages = |checks: MessageChecks| gate(move |request: &mut Request| checks.check(request));

    let models = grpc::model_routes(services.models.clone(), bytes_max)
        .layer(from_fn(grpc::compression::response::compress));
    let guarded = grpc::routes(services.clone(), bytes_max)
        .merge(models)
        .layer(
            ServiceBuilder::new()
                .layer(MapRequestLayer::new(|request| {
                    read_timeout::with_timeout(request, None)
                }))
                .layer(refuse_in_drain.clone())
                .layer(auth.clone())
                .layer(messages(MessageChecks::guarded(
                    bytes_max, &methods, &inflight,
                )))
                .layer(count.clone())
                .layer(MapRequestLayer::new(large_message::wait_for_turn)),
        );
    let limits = KeylessLimits::new(keys.clone(), readiness.clone());
    let open = readiness
        .health_routes()
        .merge(reflection::routes(&files)?)
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(limits, keyless::limit))
                .layer(messages(MessageChecks::open(
                    keyless::MESSAGE_BYTES_MAX,
                    &methods,
                ))),
        );
    let grpc = Router::new().merge(guarded).merge(open).layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(Arc::clone(&methods), grpc::only_grpc))
            .layer(GrpcWebLayer::new()),
    );

    let rest = rest::routes(services, bytes_max).layer(
        ServiceBuilder::new()
            .layer(refuse_in_drain)
            .layer(auth)
            .layer(count)
            .layer(from_fn(rest::compression::negotiate)),
    );

    let routes = Router::new()
        .merge(readiness.probes())
        .merge(rest::docs::routes())
        .merge(rest::home::routes())
        .merge(grpc)
        .merge(rest)
        .fallback(async move |request: Request| unknown(&methods, request).await);
    let cors = cors::layer(config)?;
    Ok(Front::new(routes, &cors, keys, active_calls.clone()))
}

async fn unknown(methods: &Methods, request: Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        grpc::unknown_method(methods, &request)
    } else {
        rest::unknown_path(request).await
    }
}
