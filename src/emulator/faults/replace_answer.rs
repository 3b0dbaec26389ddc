//! Replaces an answer by what a fault sends instead.

use std::future::pending;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::time::sleep;

use super::super::connection::ConnectionHandle;
use super::{id::FaultId, kind::FaultKind};

/// A reserved name: a client that follows the redirect finds no host to give its key to.
const ELSEWHERE: &str = "https://elsewhere.invalid/v1/chat/completions";
impl FaultId {
    /// The response in place of an answer. `None` if the fault leaves the answer or changes it
    /// later. The future may never complete, as some faults want.
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
                [(header::LOCATION, HeaderValue::from_static(ELSEWHERE))],
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
