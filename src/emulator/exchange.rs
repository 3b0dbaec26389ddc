//! The request that is being answered.

use super::connection::ConnectionHandle;

/// The request that is being answered: its id, for its units and for the `request-id` header, and
/// its connection.
#[derive(Clone)]
pub struct Exchange {
    pub id: String,
    pub connection: ConnectionHandle,
}
