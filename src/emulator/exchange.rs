//! The id and the connection of a request.

use super::connection::ConnectionHandle;

/// The id of a request, which its units and the `request-id` header show, and its connection.
#[derive(Clone)]
pub struct Exchange {
    pub id: String,
    pub connection: ConnectionHandle,
}
