//! Server reflection, v1 and v1alpha: the contract, for tools that have no `.proto` files. Written
//! here because tonic-reflection sends a file without what it depends on, knows no extensions, and
//! ends the stream at the first thing that is not there. Its messages are used.
//!
//! - [`index`] knows where everything is;
//! - [`answer`] puts one answer into the protocol's words.

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
    answer::{Answer, Words},
    index::Index,
};
use super::{descriptor_set::File, response::explained};
use crate::error::Result;

/// The only method that the protocol has.
const METHOD: &str = "ServerReflectionInfo";

/// Both versions, about these files.
///
/// # Errors
/// Internal, if a file depends on one that is not among them.
pub(crate) fn routes(files: &[File]) -> Result<Router> {
    let index = Arc::new(Index::new(files)?);
    let mut router = Router::new();
    for service in [v1::SERVICE_NAME, v1alpha::SERVICE_NAME] {
        let index = Arc::clone(&index);
        let answer = async move |request: Request| {
            let ask = |request: tonic::Request<Streaming<ServerReflectionRequest>>| {
                let index = Arc::clone(&index);
                // A question is read when the answer to the one before has been sent.
                let answers = request.into_inner().map(move |question| match question {
                    Ok(question) => Ok(Answer::to(question, &index)),
                    Err(status) => Err(explained(status)),
                });
                future::ready(Ok::<_, Status>(Response::new(answers)))
            };
            Grpc::new(Words)
                .streaming(tower::service_fn(ask), request)
                .await
                .map(Body::new)
        };
        router = router.route(&format!("/{service}/{METHOD}"), any(answer));
    }
    Ok(router)
}
