//! How much of a reply is read.

/// The largest unary answer, in bytes. The whole list of models takes several MB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many bytes of a failed reply's body are read. Errors of the API are shorter.
pub(super) const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
