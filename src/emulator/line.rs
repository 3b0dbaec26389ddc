//! One connection, as the faults see it that end it without an answer.

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

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// FIN, as when a program ends well.
    Close,
    /// RST, as when it crashes.
    Reset,
}

/// A way to end the connection that a request came on.
#[derive(Clone, Default)]
pub struct Line(Arc<End>);

#[derive(Default)]
struct End {
    how: OnceLock<HangUp>,
    has_come: Notify,
}

impl Line {
    pub fn hang_up(&self, how: HangUp) {
        // The first to hang up decides.
        let _ = self.0.how.set(how);
        self.0.has_come.notify_one();
    }

    async fn hung_up(&self) -> HangUp {
        loop {
            self.0.has_come.notified().await;
            if let Some(how) = self.0.how.get() {
                return *how;
            }
        }
    }
}

/// Answers on `stream` until one of the two ends it. What the requests hold is dropped with it.
pub async fn converse(stream: TcpStream, router: Router) {
    let line = Line::default();
    let service = TowerToHyperService::new(Extension(line.clone()).layer(router));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let how = tokio::select! {
        // Trouble with one connection is that connection's alone.
        _ = &mut connection => return,
        how = line.hung_up() => how,
    };
    let stream = connection.into_parts().io.into_inner();
    if how == HangUp::Reset {
        // Without lingering, the system answers unsent and unread bytes with RST.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    }
}
