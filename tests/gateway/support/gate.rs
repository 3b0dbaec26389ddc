//! A network that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use featherwire::config::DatabaseLocation;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::Database;

/// Forwards connections to a server. While it is closed, nothing passes, and no connection ends: as
/// if the server was stopped.
pub struct Gate {
    /// The number of the first connection that passes.
    first: watch::Sender<u64>,
    /// How many connections there were.
    connections: Arc<AtomicU64>,
}

impl Gate {
    /// A gate before a PostgreSQL server, and the database behind it.
    pub async fn to(database: &Database) -> (Self, DatabaseLocation) {
        let (_, rest) = database.url.split_once('@').unwrap();
        let (server, _) = rest.split_once('/').unwrap();
        let (gate, address) = Self::to_server(server.to_owned()).await;
        let url = database.url.replace(server, &address.to_string());
        (gate, DatabaseLocation::Postgres(SecretString::from(url)))
    }

    async fn to_server(server: String) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (first, passing) = watch::channel(0);
        let connections = Arc::<AtomicU64>::default();
        let gate = Self {
            first,
            connections: Arc::clone(&connections),
        };
        tokio::spawn(async move {
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                let number = connections.fetch_add(1, Relaxed);
                let server = TcpStream::connect(&server).await.unwrap();
                let ((from_caller, to_caller), (from_server, to_server)) =
                    (caller.into_split(), server.into_split());
                tokio::spawn(pass(number, from_caller, to_server, passing.clone()));
                tokio::spawn(pass(number, from_server, to_caller, passing.clone()));
            }
        });
        (gate, address)
    }

    /// Nothing passes from now on.
    pub fn close(&self) {
        self.first.send(u64::MAX).unwrap();
    }

    /// What waits passes, and what follows.
    pub fn open(&self) {
        self.first.send(0).unwrap();
    }

    /// Nothing passes on the present connections, which do not end. New ones pass: as if a router
    /// had forgotten the others.
    pub fn forget(&self) {
        self.first.send(self.connections.load(Relaxed)).unwrap();
    }
}

async fn pass(
    number: u64,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passing: watch::Receiver<u64>,
) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if passing.wait_for(|first| *first <= number).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    // Nor does the end of a connection.
    let _ = passing.wait_for(|first| *first <= number).await;
}
