//! Replaces an answer by the response of a fault.

use std::future::pending;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::time::sleep;

use super::super::connection::ConnectionHandle;
use super::{id::FaultId, kind::FaultKind};

/// A reserved host name. A client that follows the redirect finds no host, so it cannot send its key
/// to another server.
const REDIRECT_TARGET: &str = "https://elsewhere.invalid/v1/chat/completions";
impl FaultId {
    /// The response in place of an answer. `None` if the fault does not act, or changes the answer
    /// later. For some faults the future never completes.
    pub async fn replace_answer(
        &self,
        model: &str,
        connection: &ConnectionHandle,
    ) -> Option<Response> {
        sleep(self.delay).await;
        let mut response = match self.kind {
            FaultKind::Refused(refused) => refused.refusal(model).into_response(),
            FaultKind::Status(status, shape) => shape.response(status),
            FaultKind::WrongBody(body) => body.response(),
            FaultKind::Redirect => (
                StatusCode::FOUND,
                [(header::LOCATION, HeaderValue::from_static(REDIRECT_TARGET))],
            )
                .into_response(),
            FaultKind::NoHead => match self.silence {
                Some(silence) => {
                    sleep(silence).await;
                    return None;
                }
                None => pending().await,
            },
            FaultKind::Disconnect(how) => {
                connection.disconnect(how);
                pending().await
            }
            _ => return None,
        };
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        Some(response)
    }
}
