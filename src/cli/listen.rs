//! The listener of the commands that serve.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::net::TcpListener;

use super::failure::Failure;

/// Listens on `address`, which `flag` or `variable` sets.
///
/// # Errors
/// A sentence that says why this fails and what to do.
pub(super) async fn bind(
    address: SocketAddr,
    flag: &str,
    variable: &str,
) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let why = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "another program listens on port {port}, perhaps another featherwire: stop it, or \
                 choose another port"
            ),
            ErrorKind::PermissionDenied => format!(
                "this user may not listen on port {port}, because ports below 1024 need \
                 administrator rights: choose a higher port, such as 8000"
            ),
            ErrorKind::AddrNotAvailable => format!(
                "this machine has no address {}: choose 127.0.0.1 (only this machine), \
                 0.0.0.0 (all networks), or an address of this machine",
                address.ip()
            ),
            _ => format!("{error}; choose another address"),
        };
        Failure::failed(format_args!(
            "cannot listen on {address}: {why} ({flag}, or {variable})"
        ))
    })
}
