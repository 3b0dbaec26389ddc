//! The body of an answer that comes whole.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    clocks::Clocks,
    failures::{cut, too_large},
};
use crate::error::Result;

/// Reads a body to its end, or to the error of one that falls silent, is cut, or is longer than the
/// limit. White space is no beginning of an answer: some servers send it to keep a silent
/// connection alive.
pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    clocks: Clocks,
    sent: Instant,
    deadline: Option<Instant>,
) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut has_begun = false;
    loop {
        let (first, rest) = (clocks.first(sent, deadline), clocks.rest(deadline));
        let (due, late) = if has_begun || rest.0 < first.0 {
            rest
        } else {
            first
        };
        let frame = timeout_at(due, body.frame())
            .await
            .map_err(|_| late.error(clocks))?;
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let Ok(data) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        has_begun = has_begun || data.iter().any(|byte| !byte.is_ascii_whitespace());
        whole.extend_from_slice(&data);
    }
}
