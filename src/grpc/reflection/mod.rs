//! Server reflection, v1 and v1alpha: describes the contract to tools that have no `.proto` files.
//! Only the messages of tonic-reflection are used. Its service sends a file without its
//! dependencies, does not support extensions, and ends the stream at the first unknown name.
//!
//! - [`index`] finds files by names, symbols and extensions;
//! - [`answer`] makes the response to one request.

use std::{future, sync::Arc};

use axum::{Router, body::Body, extract::Request, routing::any};
use futures_util::StreamExt;
use tonic::{Response, Status, Streaming, server::Grpc};
use tonic_reflection::pb::{
    v1::{ServerReflectionRequest, server_reflection_server as v1},
    v1alpha::server_reflection_server as v1alpha,
};

mod answer;
mod index;

use self::{
    answer::{Answer, ReflectionCodec},
    index::Index,
};
use super::{descriptor_set::File, response::explained};
use crate::error::Result;

/// The only method of the protocol.
const METHOD: &str = "ServerReflectionInfo";

/// The routes of both versions, which describe `files`.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if a file depends on one that is not among
/// them.
pub(crate) fn routes(files: &[File]) -> Result<Router> {
    let index = Arc::new(Index::new(files)?);
    let mut router = Router::new();
    for service in [v1::SERVICE_NAME, v1alpha::SERVICE_NAME] {
        let index = Arc::clone(&index);
        let answer = async move |request: Request| {
            let ask = |request: tonic::Request<Streaming<ServerReflectionRequest>>| {
                let index = Arc::clone(&index);
                // A request is read after the response to the previous request has been sent.
                let answers = request.into_inner().map(move |question| match question {
                    Ok(question) => Ok(Answer::to(question, &index)),
                    Err(status) => Err(explained(status)),
                });
                future::ready(Ok::<_, Status>(Response::new(answers)))
            };
            Grpc::new(ReflectionCodec)
                .streaming(tower::service_fn(ask), request)
                .await
                .map(Body::new)
        };
        router = router.route(&format!("/{service}/{METHOD}"), any(answer));
    }
    Ok(router)
}
