//! The list of layers, outermost first, and the routes behind them.
//!
//! All requests pass:
//!
//! | layer | what it does |
//! |---|---|
//! | `early_response::settle` | handles bodies that the response did not wait for |
//! | `stalled_response::track` | records whether the caller reads the response |
//! | `arrive` | records when the call arrived, and whether it has a known key |
//! | `telemetry::observe` | gives the call an id, and logs one line at `debug` |
//! | `ambiguous_request::refuse` | refuses what can be read in two ways, such as two hosts |
//! | `cors::layer` | answers browsers, also on paths that need a key |
//!
//! Then, by path:
//!
//! - `/healthz`, `/readyz`, `/docs`, `/openapi.json`, `/`: open to all.
//! - gRPC: `only_grpc`, gRPC-Web, and then
//!   - health and reflection, without a key: `keyless` limits, `messages`.
//!   - the services: `read_timeout`, `begin`, `auth`, `messages`, `count`, `large_message`; for
//!     `ModelService` also `compress`.
//! - REST: `begin`, `auth`, `count`, `negotiate`.
//! - Unknown paths: an error in the caller's protocol.
//!
//! `begin` refuses new calls during the drain, `auth` calls without a key. `messages` checks the
//! messages of a gRPC request, and `count` counts the bytes of a body. `begin` comes first because
//! it is cheap, `auth` before anything that reads the body.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{from_fn, from_fn_with_state, map_request_with_state},
    response::Response,
};
use tokio::time::Instant;
use tonic_web::GrpcWebLayer;
use tower::util::MapRequestLayer;

use super::{
    ambiguous_request, auth, cors, count_bytes, early_response,
    gate::gate,
    keyless::{self, KeylessLimits},
    peer::Peer,
    readiness::Readiness,
    stalled_response,
};
use crate::{
    config,
    error::Result,
    grpc::{
        self, descriptor_set, large_message, methods::Methods, read_timeout, reflection,
        request::MessageChecks,
    },
    rest,
    service::{ActiveCalls, Arrival, Services, inflight_bytes::InflightBytes},
    telemetry,
};

pub(super) fn router(
    config: &config::Serve,
    services: Services,
    readiness: &Readiness,
    active_calls: &ActiveCalls,
) -> Result<Router> {
    let bytes_max = usize::try_from(config.max_request_bytes.as_u64()).unwrap_or(usize::MAX);
    let inflight = InflightBytes::new(config.inflight_request_bytes_max());
    let keys = auth::Keys::new(&config.api_keys, &config.units.key_weights);

    let files = descriptor_set::files()?;
    let methods = Arc::new(Methods::new(&files));

    let (begins, knows) = (readiness.clone(), keys.clone());
    let begin = gate(move |_: &mut Request| begins.check());
    let auth = gate(move |request: &mut Request| auth::check(&knows, request));
    let count = {
        let inflight = inflight.clone();
        MapRequestLayer::new(move |request| count_bytes::count(&inflight, request))
    };
    let messages = |checks: MessageChecks| gate(move |request: &mut Request| checks.check(request));

    let models = grpc::model_routes(services.models.clone(), bytes_max)
        .layer(from_fn(grpc::compression::response::compress));
    let guarded = grpc::routes(services.clone(), bytes_max)
        .merge(models)
        .layer(MapRequestLayer::new(large_message::wait_for_turn))
        .layer(count.clone())
        .layer(messages(MessageChecks::guarded(
            bytes_max, &methods, &inflight,
        )))
        .layer(auth.clone())
        .layer(begin.clone())
        .layer(MapRequestLayer::new(|request| {
            read_timeout::with_timeout(request, None)
        }));
    let open = readiness
        .health_routes()
        .merge(reflection::routes(&files)?)
        .layer(messages(MessageChecks::open(
            keyless::MESSAGE_BYTES_MAX,
            &methods,
        )))
        .layer(from_fn_with_state(
            KeylessLimits::new(keys.clone(), readiness.clone()),
            keyless::limit,
        ));
    let grpc = Router::new()
        .merge(guarded)
        .merge(open)
        .layer(GrpcWebLayer::new())
        .layer(from_fn_with_state(Arc::clone(&methods), grpc::only_grpc));

    let rest = rest::routes(services, bytes_max)
        .layer(from_fn(rest::compression::negotiate))
        .layer(count)
        .layer(auth)
        .layer(begin);

    Ok(Router::new()
        .merge(readiness.probes())
        .merge(rest::docs::routes())
        .merge(rest::home::routes())
        .merge(grpc)
        .merge(rest)
        .fallback(async move |request: Request| unknown(&methods, request).await)
        .layer(cors::layer(config)?)
        .layer(from_fn(ambiguous_request::refuse))
        .layer(from_fn(telemetry::observe))
        .layer(map_request_with_state((active_calls.clone(), keys), arrive))
        .layer(from_fn(stalled_response::track))
        .layer(from_fn(early_response::settle)))
}

async fn arrive(
    State((active_calls, keys)): State<(ActiveCalls, auth::Keys)>,
    mut request: Request,
) -> Request {
    if let Some(peer) = Peer::current().filter(|peer| !peer.is_authenticated())
        && keys.has_known_key(request.headers())
    {
        peer.authenticate();
    }
    request.extensions_mut().insert(Arrival {
        at: Instant::now(),
        active_calls,
        deadline_observer: stalled_response::deadline_observer(),
    });
    request
}

async fn unknown(methods: &Methods, request: Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        grpc::unknown_method(methods, &request)
    } else {
        rest::unknown_path(request).await
    }
}
