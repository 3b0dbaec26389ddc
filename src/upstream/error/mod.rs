//! What Featherless says when it fails, as the gateway's [`Error`](crate::error::Error). This
//! module alone knows Featherless's dialect, and those of the engines and front ends around it.
//!
//! The status decides the kind, so that callers retry exactly what can be retried. The body refines
//! the kind where it has something to say. An error inside a successful reply has no status of its
//! own: there the words of the error tell which status it would have had.
//!
//! | status | kind | what it means for the caller |
//! |---|---|---|
//! | 400, 422 | Invalid | model not ready, context too short, or a wrong field |
//! | 401 | Misconfigured | the gateway's own key was rejected |
//! | 402, 403, 451 | Forbidden | the account may not do this |
//! | 404, 410 | NotFound | no such model. Without a model: Upstream, a wrong base URL |
//! | 407, 511 | Upstream | a proxy in between asks for authentication |
//! | 408, 504, 522, 524, 598, 599 | Timeout | Featherless took too long |
//! | 413, 414 | TooLarge | the request is too large |
//! | 429 | Saturated | try again later |
//! | 499 | Upstream | Featherless stopped working on the request |
//! | any other 4xx | Invalid | the request is refused, and would be refused again |
//! | 503, 529 | Unavailable | there is no capacity |
//! | any other 5xx | Upstream | Featherless is broken |
//! | 3xx | Upstream | the API never redirects: the base URL is wrong |
//!
//! [`reply`] reads a whole reply, [`embedded`] an error inside a successful one, and [`local`] has
//! the errors that the client itself detects. All use [`status`] for the meaning and [`shapes`] for
//! the body.

mod embedded;
pub(super) mod local;
mod quoting;
mod rate_limit;
mod reply;
mod shapes;
mod status;
mod values;

pub use embedded::{from_error_event, from_event, from_failed_choice};
pub use local::too_large;
pub use reply::{ErrorReply, request_id};

#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod tests;
