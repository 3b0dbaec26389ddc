//! The largest body of a request.

use crate::error::{Error, ErrorCode};

/// The largest body, in bytes, before and after decompression.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit(pub(super) usize);

impl BodyLimit {
    /// The error for a body that is larger.
    pub(super) fn exceeded(self) -> Error {
        let message = format!(
            "The request is larger than {} bytes: send less, or raise --max-request-bytes",
            self.0
        );
        Error::new(ErrorCode::RequestTooLarge, message)
    }
}
