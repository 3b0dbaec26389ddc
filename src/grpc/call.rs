//! Makes a [`Call`] from a gRPC request: from its metadata, and from the extensions that earlier
//! steps have added.

use std::pin::Pin;

use futures_util::FutureExt;
use tonic::{Response, Status};

use crate::{error::Result, service::Call};

/// The future of a method, as tonic's traits declare it.
pub(super) type Answering<'a, T> =
    Pin<Box<dyn Future<Output = std::result::Result<Response<T>, Status>> + Send + 'a>>;

/// Splits a request into its call and its message.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) if one of the gateway's own metadata keys has a
/// value that is not valid for it.
pub(super) fn split<M>(request: tonic::Request<M>) -> Result<(Call, M)> {
    let (metadata, extensions, message) = request.into_parts();
    Ok((Call::new(metadata.as_ref(), &extensions)?, message))
}

/// Answers a request by `answer`. For the methods that models answer: an `async fn` that splits the
/// request would hold it twice, as its argument and in two parts.
pub(super) fn answer<'a, M, T, F>(
    request: tonic::Request<M>,
    answer: impl FnOnce(Call, Box<M>) -> F,
) -> Answering<'a, T>
where
    T: Send + 'a,
    F: Future<Output = Result<Response<T>>> + Send + 'a,
{
    match split(request) {
        Ok((call, message)) => {
            let answering = answer(call, Box::new(message));
            Box::pin(answering.map(|answer| answer.map_err(Status::from)))
        }
        Err(error) => Box::pin(std::future::ready(Err(error.into()))),
    }
}
