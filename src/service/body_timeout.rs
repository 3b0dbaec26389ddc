//! How long the body of a request may take to arrive.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::error::{Error, ErrorCode, Result};

/// How long the body of a request may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits for `body` until `deadline`, or for [`BODY_TIMEOUT`] if that ends sooner.
///
/// # Errors
/// [`Kind::Timeout`](crate::error::Kind::Timeout).
pub(super) async fn receive<T>(
    deadline: Option<Instant>,
    body: impl Future<Output = T>,
) -> Result<T> {
    let limit = Instant::now() + BODY_TIMEOUT;
    match deadline.filter(|deadline| *deadline < limit) {
        Some(deadline) => timeout_at(deadline, body)
            .await
            .map_err(|_| Error::deadline_exceeded("the request had arrived")),
        None => timeout_at(limit, body).await.map_err(|_| exceeded()),
    }
}

/// The error for a body that took longer than [`BODY_TIMEOUT`].
pub fn exceeded() -> Error {
    Error::new(
        ErrorCode::RequestTimeout,
        "The request's body took too long to arrive: send it faster, or allow more time",
    )
}
