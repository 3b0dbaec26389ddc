//! A scripted upstream: it answers requests according to a script, and records the requests. It
//! writes plain bytes over TCP, so that it can also do things that no HTTP library supports.

use std::{collections::VecDeque, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

mod answers;
mod conversation;
mod script;
mod state;

pub use answers::{
    STREAM_HEAD, answer_for, answer_with, chunk, chunked, done, event, finish, no_capacity,
    refused, whole,
};
pub use script::{Reply, Then};
pub use state::Seen;

use self::{
    conversation::converse,
    state::{Shared, State},
};
use super::{clock::PATIENCE, poll};

/// The scripted upstream. It runs until the value is dropped.
pub struct Scripted {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// Bound and never listening: no other socket gets the port while connections are refused.
    _port: TcpSocket,
}

impl Scripted {
    /// An upstream that sends the same reply to each request.
    pub async fn always(reply: Reply) -> Self {
        let port = bound("127.0.0.1:0".parse().unwrap()).await;
        let address = port.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        shared.change(|state| state.reply = Some(reply));
        let task = accept(address, &shared).await;
        Self {
            address,
            shared,
            task,
            _port: port,
        }
    }

    /// From now on, connections are refused.
    pub async fn refuse(&mut self) {
        self.task.abort();
        // The listener is dropped with its task.
        let _ = (&mut self.task).await;
    }

    /// Until the returned value is dropped, connections are neither accepted nor refused: the
    /// backlog is full, and the kernel drops further attempts.
    #[cfg(target_os = "linux")]
    pub async fn ignore(&mut self) -> impl Sized + use<> {
        self.refuse().await;
        let full = bound(self.address).await.listen(0).unwrap();
        let first = TcpStream::connect(self.address).await.unwrap();
        (full, first)
    }

    /// Accepts connections again, after [`refuse`](Self::refuse) or `ignore`.
    pub async fn listen(&mut self) {
        self.task = accept(self.address, &self.shared).await;
    }

    /// Sets an action for each new connection, before anything is read from it. `None` returns to
    /// the script.
    pub fn set_greeting(&self, greeting: Option<Then>) {
        self.shared.change(|state| state.greeting = greeting);
    }

    /// An upstream that sends these replies to the first requests, and the last reply to all later
    /// requests.
    pub async fn first(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        let scripted = Self::always(replies.pop_back().unwrap()).await;
        scripted.shared.change(|state| state.first = replies);
        scripted
    }

    /// Sets the reply to all further requests.
    pub fn set_reply(&self, reply: Reply) {
        self.shared.change(|state| state.reply = Some(reply));
    }

    /// Sets the reply to further requests for one model. `None` returns to the script.
    pub fn set_reply_for_model(&self, broken: Option<(&str, Reply)>) {
        self.shared
            .change(|state| state.broken = broken.map(|(model, reply)| (model.to_owned(), reply)));
    }

    /// Sets a pause before each further reply. During the pause a closed connection is not noticed.
    /// `None` removes the pause.
    pub fn set_pause(&self, pause: Option<Duration>) {
        self.shared.change(|state| state.pause = pause);
    }

    /// Sets the answer to requests for the catalogue. These requests, and requests for the
    /// account's units, are then answered outside the script and not recorded.
    pub fn set_catalogue(&self, catalogue: Value) {
        self.shared
            .change(|state| state.catalogue = Some(catalogue));
    }

    /// Waits until `times` requests have arrived.
    pub async fn wait_for_requests(&self, times: usize) {
        self.until("requests arrive", |state| state.seen.len() >= times)
            .await;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    /// The models of the requests so far, in their order.
    pub fn models(&self) -> Vec<String> {
        let seen = self.requests();
        seen.iter()
            .filter(|seen| !seen.body.is_empty())
            .map(|seen| seen.json()["model"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The only request so far.
    pub fn only_request(&self) -> Seen {
        let seen = self.requests();
        assert_eq!(seen.len(), 1, "one request, not {}", seen.len());
        seen.into_iter().next().unwrap()
    }

    /// The number of events written so far.
    pub fn written(&self) -> usize {
        self.shared.state.lock().unwrap().written
    }

    /// The number of connections so far, closed ones included.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// Waits until a request has arrived.
    pub async fn wait_for_request(&self) {
        self.until("a request arrives", |state| !state.seen.is_empty())
            .await;
    }

    /// Waits until a connection is at the end of its script and waits for the other side to close.
    pub async fn wait_until_stalled(&self) {
        self.until("a reply is stuck", |state| state.stuck > 0)
            .await;
    }

    /// Closes the idle connections, and waits until no connection is open: the other side has to
    /// close those with a request.
    pub async fn wait_until_idle(&self) {
        self.shared.change(|state| state.is_resting = true);
        self.wait_until_closed().await;
        self.shared.change(|state| state.is_resting = false);
    }

    /// Waits until no connection is open any more.
    pub async fn wait_until_closed(&self) {
        self.until("every connection is closed", |state| state.open == 0)
            .await;
    }

    async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let wait = tokio::time::timeout(PATIENCE, self.shared.until(condition));
        wait.await.unwrap_or_else(|_| panic!("until {what}"));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket at this address, or at a free port. It shares the port with other sockets of this
/// function.
async fn bound(address: SocketAddr) -> TcpSocket {
    // On a busy machine the kernel can need a moment before a port without a listener can be
    // shared.
    poll::find("the port is free", async || {
        let socket = TcpSocket::new_v4().unwrap();
        // A free port is taken alone, and shared from then on.
        socket.set_reuseaddr(address.port() != 0).unwrap();
        match socket.bind(address) {
            Ok(()) => {
                socket.set_reuseaddr(true).unwrap();
                Some(socket)
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            Err(error) => panic!("{address}: {error}"),
        }
    })
    .await
}

async fn accept(address: SocketAddr, shared: &Arc<Shared>) -> JoinHandle<()> {
    let listener: TcpListener = bound(address).await.listen(1024).unwrap();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            shared.change(|state| {
                state.open += 1;
                state.connections += 1;
            });
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _ = converse(stream, &shared).await;
                shared.change(|state| state.open -= 1);
            });
        }
    })
}
