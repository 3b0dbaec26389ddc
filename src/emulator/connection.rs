//! One connection, and a handle with which a fault ends the connection without an answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::Layer;

/// How to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// With FIN, like a program that ends normally.
    Close,
    /// With RST, like a program that crashes.
    Reset,
}

/// Ends the connection of a request.
#[derive(Clone, Default)]
pub struct ConnectionHandle(Arc<Request>);

#[derive(Default)]
struct Request {
    how: OnceLock<Disconnect>,
    requested: Notify,
}

impl ConnectionHandle {
    pub fn disconnect(&self, how: Disconnect) {
        // The first call decides.
        let _ = self.0.how.set(how);
        self.0.requested.notify_one();
    }

    async fn disconnected(&self) -> Disconnect {
        loop {
            self.0.requested.notified().await;
            if let Some(how) = self.0.how.get() {
                return *how;
            }
        }
    }
}

/// Serves `stream` until the caller or a fault ends the connection. Everything that its requests
/// hold is dropped with the connection.
pub async fn serve(stream: TcpStream, router: Router) {
    let handle = ConnectionHandle::default();
    let service = TowerToHyperService::new(Extension(handle.clone()).layer(router));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let how = tokio::select! {
        // An error of one connection does not concern the others.
        _ = &mut connection => return,
        how = handle.disconnected() => how,
    };
    let stream = connection.into_parts().io.into_inner();
    if how == Disconnect::Reset {
        // With a linger time of zero, the system closes the connection with RST.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    }
}
