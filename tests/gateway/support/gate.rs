//! A network that can be cut.

use std::net::SocketAddr;

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
    is_open: watch::Sender<bool>,
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
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                let ((from_caller, to_caller), (from_server, to_server)) =
                    (caller.into_split(), server.into_split());
                tokio::spawn(pass(from_caller, to_server, is_open.clone()));
                tokio::spawn(pass(from_server, to_caller, is_open.clone()));
            }
        });
        (Self { is_open: open }, address)
    }

    /// Nothing passes from now on.
    pub fn close(&self) {
        self.is_open.send(false).unwrap();
    }

    /// What waits passes, and what follows.
    pub fn open(&self) {
        self.is_open.send(true).unwrap();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
