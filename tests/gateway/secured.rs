//! A gateway with TLS: its doors, its certificates, and those of callers.

mod callers;
mod commands;
mod doors;
mod expired;
mod failed_handshakes;
mod handshakes;
mod keys;
mod reload;
mod running_calls;
mod startup;

use std::net::SocketAddr;

use crate::support::{
    Gateway, Reply, Scripted,
    certificates::{Authority, Files},
    scripted::{chunk, finish},
};

/// A gateway with a certificate of an authority of its own, in front of this upstream.
struct Secured {
    gateway: Gateway,
    authority: Authority,
    files: Files,
}

impl Secured {
    async fn to(upstream: SocketAddr) -> Self {
        let authority = Authority::new();
        let files = Files::of(&authority.server("first"));
        let mut gateway = Gateway::with(upstream, |config| config.tls = files.options()).await;
        gateway.credentials = Some(authority.trusted());
        Self {
            gateway,
            authority,
            files,
        }
    }
}

/// An upstream that answers each call.
async fn answering() -> Scripted {
    Scripted::always(Reply::Events(vec![chunk("hi"), finish()])).await
}
