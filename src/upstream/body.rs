//! Reads the body of a unary answer.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    error::{local::answer_cut, too_large},
    response_body::ResponseBody,
    timeouts::Timeouts,
};
use crate::error::Result;

/// Reads `body` to its end. `sent` is when the request was sent.
///
/// White space does not start an answer: some servers send it to keep a silent connection alive.
///
/// # Errors
/// [`Kind::Timeout`](crate::error::Kind::Timeout) if the body is silent for too long or is not
/// complete at `deadline`. [`Kind::Upstream`](crate::error::Kind::Upstream) if it is cut, or longer
/// than `bytes_max`.
pub(super) async fn read(
    mut body: ResponseBody,
    bytes_max: usize,
    timeouts: Timeouts,
    sent: Instant,
    deadline: Option<Instant>,
) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut has_started = false;
    loop {
        let (first, next) = (timeouts.first(sent, deadline), timeouts.next(deadline));
        let (due, expired) = if has_started || next.0 < first.0 {
            next
        } else {
            first
        };
        let frame = timeout_at(due, body.frame())
            .await
            .map_err(|_| expired.error(timeouts))?;
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let Ok(data) = frame.map_err(answer_cut)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        if whole.is_empty() && body.is_end_stream() {
            // The whole body is one frame, as usual: it is not copied.
            return Ok(data);
        }
        has_started = has_started || data.iter().any(|byte| !byte.is_ascii_whitespace());
        whole.extend_from_slice(&data);
    }
}
