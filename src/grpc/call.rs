//! Makes a [`Call`] from a gRPC request: from its metadata, and from the extensions that earlier
//! steps have added.

use crate::{error::Result, service::Call};

/// Splits a request into its call and its message.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) if one of the gateway's own metadata keys has a
/// value that is not valid for it.
pub(super) fn split<M>(request: tonic::Request<M>) -> Result<(Call, M)> {
    let (metadata, extensions, message) = request.into_parts();
    Ok((Call::new(metadata.as_ref(), &extensions)?, message))
}
