//! The listener of the commands that serve.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::net::TcpListener;

use super::Failure;

/// Listens on `address`, which `--listen` or `variable` sets.
///
/// # Errors
/// Why that is impossible, and what to do.
pub(super) async fn bind(address: SocketAddr, variable: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let why = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "another program listens on port {port}, perhaps another featherwire: end that \
                 one, or choose another port"
            ),
            ErrorKind::PermissionDenied => format!(
                "this user may not listen on port {port}; ports below 1024 are for the \
                 administrator: choose a higher one, such as 8000"
            ),
            ErrorKind::AddrNotAvailable => format!(
                "this machine has no address {}: choose one that it has, 127.0.0.1 for this \
                 machine alone or 0.0.0.0 for every network",
                address.ip()
            ),
            _ => format!("{error}; choose another address"),
        };
        Failure::failed(format_args!(
            "can't listen on {address}: {why} (--listen, or {variable})"
        ))
    })
}
