//! The state of the REST door, which every handler gets.

use std::sync::Arc;

use super::limit::BodyLimit;
use crate::service::Services;

/// The state of the handlers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RestState {
    pub(super) services: Arc<Services>,
    /// The largest body of a request.
    pub(super) body_limit: BodyLimit,
}
