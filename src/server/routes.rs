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
//! ├─ gRPC        only_grpc → gRPC-Web ─┬─ bounds → health, reflection    open
//! │                                    └─ limit → begin → auth → ChatService, …
//! ├─ REST        begin → auth → the OpenAI door                          (begin: not while we drain)
//! └─ fallback    unknown paths, in the caller's dialect
//! ```

use axum::{
    Router,
    extract::{Request, State},
    middleware::{from_fn, from_fn_with_state, map_request_with_state},
    response::Response,
};
use tokio::time::Instant;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;

use super::{
    ambiguity, auth, cors, early, grpc, limit, open,
    peer::Peer,
    ready::{self, Readiness},
    unread,
};
use crate::{
    config,
    error::{Error, Result},
    proto::{
        DESCRIPTOR_SET,
        v1::{
            account_service_server::AccountServiceServer, chat_service_server::ChatServiceServer,
            completion_service_server::CompletionServiceServer, embedding_service_server::EmbeddingServiceServer,
            model_service_server::ModelServiceServer,
        },
    },
    rest,
    service::{Arrival, Running, Services},
    telemetry,
};

pub(super) fn router(
    config: &config::Serve,
    services: Services,
    readiness: &Readiness,
    running: &Running,
) -> Result<Router> {
    let bytes_max = usize::try_from(config.max_request_bytes.as_u64()).unwrap_or(usize::MAX);
    let begin = || from_fn_with_state(readiness.clone(), ready::refuse_while_draining);
    let keys = auth::Keys::new(&config.api_keys, &config.units.key_weights);

    let Services { chat, completions, embeddings, models, account } = services.clone();
    let guarded = Routes::new(ChatServiceServer::new(chat).max_decoding_message_size(bytes_max))
        .add_service(CompletionServiceServer::new(completions).max_decoding_message_size(bytes_max))
        .add_service(EmbeddingServiceServer::new(embeddings).max_decoding_message_size(bytes_max))
        .add_service(ModelServiceServer::new(models).max_decoding_message_size(bytes_max))
        .add_service(AccountServiceServer::new(account).max_decoding_message_size(bytes_max))
        .into_axum_router()
        .layer(auth::layer(&keys))
        .layer(begin())
        .layer(limit::Layer { bytes_max });
    let descriptions = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that tools can read the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let bounds = open::Layer::new(keys.clone(), readiness.clone());
    let open = Routes::new(readiness.health_service())
        .add_service(descriptions().build_v1().map_err(Error::internal)?)
        .add_service(descriptions().build_v1alpha().map_err(Error::internal)?)
        .into_axum_router()
        .layer(bounds);
    let grpc = Router::new()
        .merge(guarded.reset_fallback())
        .merge(open.reset_fallback())
        .layer(GrpcWebLayer::new())
        .layer(from_fn(grpc::only_grpc));

    let rest = rest::routes(services, bytes_max).layer(auth::layer(&keys)).layer(begin());

    Ok(Router::new()
        .merge(readiness.probes())
        .merge(rest::docs::routes())
        .merge(rest::home::routes())
        .merge(grpc)
        .merge(rest)
        .fallback(unknown)
        .layer(cors::layer(config)?)
        .layer(from_fn(ambiguity::refuse))
        .layer(from_fn(telemetry::observe))
        .layer(map_request_with_state((running.clone(), keys), arrive))
        .layer(from_fn(unread::track))
        .layer(from_fn(early::settle)))
}

async fn arrive(State((running, keys)): State<(Running, auth::Keys)>, mut request: Request) -> Request {
    if let Some(peer) = Peer::current().filter(|peer| !peer.is_authenticated())
        && keys.know(request.headers())
    {
        peer.authenticate();
    }
    request.extensions_mut().insert(Arrival { at: Instant::now(), running });
    request
}

async fn unknown(request: Request) -> Response {
    if grpc::is_grpc(request.headers()) { grpc::unknown_method(&request) } else { rest::unknown_path(request).await }
}
