//! The list of layers, outermost first, and which routes each of them guards.
//!
//! ```text
//! settle         what becomes of a body that the answer doesn't wait for
//! track          tells of answers that nobody reads
//! arrive         when the call came, among which it runs, and whether it has a key
//! observe        an id for every call, one log line at `debug`
//! refuse         what can be read in two ways, such as two Hosts
//! cors           browsers ask first, also on paths that need a key
//! ├─ probes      /healthz, /readyz                                       open
//! ├─ docs, home  /openapi.json, /docs, /                                 open
//! ├─ gRPC        only_grpc → gRPC-Web ─┬─ bounds → messages → health, reflection                              open
//! │                                    └─ clock → begin → auth → messages → bodies → ChatService, … (→ pack → ModelService)
//! ├─ REST        begin → auth → bodies → the OpenAI door                 (begin: not while we drain)
//! └─ fallback    unknown paths, in the caller's dialect
//! ```

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
    keyless::{self, Keyless},
    peer::Peer,
    readiness::Readiness,
    stalled_response,
};
use crate::{
    config,
    error::Result,
    grpc::{
        self, compression, descriptor_set, methods::Methods, read_timeout, reflection,
        request::Checks,
    },
    rest,
    service::{ActiveCalls, Arrival, Services, inflight_bytes::Bodies},
    telemetry,
};

pub(super) fn router(
    config: &config::Serve,
    services: Services,
    readiness: &Readiness,
    running: &ActiveCalls,
) -> Result<Router> {
    let bytes_max = usize::try_from(config.max_request_bytes.as_u64()).unwrap_or(usize::MAX);
    let bodies = Bodies::new(config.inflight_request_bytes_max());
    let keys = auth::Keys::new(&config.api_keys, &config.units.key_weights);

    let files = descriptor_set::files()?;
    let methods = Arc::new(Methods::new(&files));

    let (begins, knows) = (readiness.clone(), keys.clone());
    let begin = gate(move |_: &mut Request| begins.check());
    let auth = gate(move |request: &mut Request| auth::check(&knows, request));
    let count = {
        let bodies = bodies.clone();
        MapRequestLayer::new(move |request| count_bytes::count(&bodies, request))
    };
    let messages = |checks: Checks| gate(move |request: &mut Request| checks.check(request));

    let models = grpc::model_routes(services.models.clone(), bytes_max)
        .layer(from_fn(compression::response::compress));
    let guarded = grpc::routes(services.clone(), bytes_max)
        .merge(models)
        .layer(count.clone())
        .layer(messages(Checks::guarded(bytes_max, &methods, &bodies)))
        .layer(auth.clone())
        .layer(begin.clone())
        .layer(MapRequestLayer::new(|request| {
            read_timeout::timed(request, None)
        }));
    let open = readiness
        .health_routes()
        .merge(reflection::routes(&files)?)
        .layer(messages(Checks::open(keyless::MESSAGE_BYTES_MAX, &methods)))
        .layer(from_fn_with_state(
            Keyless::new(keys.clone(), readiness.clone()),
            keyless::bound,
        ));
    let grpc = Router::new()
        .merge(guarded)
        .merge(open)
        .layer(GrpcWebLayer::new())
        .layer(from_fn_with_state(Arc::clone(&methods), grpc::only_grpc));

    let rest = rest::routes(services, bytes_max)
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
        .layer(map_request_with_state((running.clone(), keys), arrive))
        .layer(from_fn(stalled_response::track))
        .layer(from_fn(early_response::settle)))
}

async fn arrive(
    State((running, keys)): State<(ActiveCalls, auth::Keys)>,
    mut request: Request,
) -> Request {
    if let Some(peer) = Peer::current().filter(|peer| !peer.is_authenticated())
        && keys.know(request.headers())
    {
        peer.authenticate();
    }
    request.extensions_mut().insert(Arrival {
        at: Instant::now(),
        running,
        keeper: stalled_response::keeper(),
    });
    request
}

async fn unknown(methods: &Methods, request: Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        grpc::methods::unknown_method(methods, &request)
    } else {
        rest::unknown_path(request).await
    }
}
