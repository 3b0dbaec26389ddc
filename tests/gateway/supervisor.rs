//! What the gateway tells systemd.

use std::{collections::VecDeque, process::Stdio};

use tokio::{net::UnixDatagram, process::Command, time::timeout};

use crate::support::{
    PATIENCE,
    program::{Folder, featherwire, run, started, terminate},
    rest::http,
};

/// systemd's end of the socket.
struct Supervisor {
    socket: UnixDatagram,
    path: String,
    lines: VecDeque<String>,
    _folder: Folder,
}

impl Supervisor {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.0.join("notify").to_str().unwrap().to_owned();
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path,
            lines: VecDeque::new(),
            _folder: folder,
        }
    }

    /// A gateway that this supervisor starts.
    fn command(&self, listen: &str) -> Command {
        let mut command = featherwire(&["serve", "--emulator", "--listen", listen]);
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// The next line that the gateway sends.
    async fn line(&mut self) -> String {
        while self.lines.is_empty() {
            let mut bytes = [0; 4096];
            let received = timeout(PATIENCE, self.socket.recv(&mut bytes)).await;
            let length = received.expect("a message comes").unwrap();
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            self.lines.extend(text.lines().map(str::to_owned));
        }
        self.lines.pop_front().unwrap()
    }
}

#[tokio::test]
async fn systemd_is_told_when_callers_are_served_and_when_the_drain_begins() {
    let mut supervisor = Supervisor::new();
    let (mut gateway, address, _log) = {
        let mut command = supervisor.command("127.0.0.1:0");
        command.args(["--drain-timeout", "10m"]);
        started(command).await
    };
    assert_eq!(supervisor.line().await, "READY=1");
    // Not a moment later.
    let ready = http()
        .get(format!("{address}/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    let status = supervisor.line().await;
    let host = address.strip_prefix("http://").unwrap();
    assert_eq!(status, format!("STATUS=serving on {host}"));

    terminate(gateway.id().unwrap()).await;
    assert_eq!(supervisor.line().await, "STOPPING=1");
    let status = supervisor.line().await;
    assert!(status.starts_with("STATUS=draining"), "{status}");
    // More than the drain takes, in microseconds.
    assert_eq!(supervisor.line().await, "EXTEND_TIMEOUT_USEC=615000000");
    assert_eq!(gateway.wait().await.unwrap().code(), Some(0));
    assert!(supervisor.lines.is_empty() && supervisor.socket.try_recv(&mut [0]).is_err());
}

#[tokio::test]
async fn a_gateway_that_cannot_start_never_says_that_it_is_ready() {
    let supervisor = Supervisor::new();
    let mut command = supervisor.command("192.0.2.1:0");
    // An address that is reserved for documentation. No machine has it.
    let ended = run(command.args(["--api-keys", "k"])).await;
    assert!(ended.err.contains("no address 192.0.2.1"), "{}", ended.err);
    assert!(supervisor.socket.try_recv(&mut [0]).is_err());
}

#[tokio::test]
async fn the_watchdog_of_systemd_is_fed_until_the_end_of_the_drain() {
    let mut supervisor = Supervisor::new();
    let (mut gateway, address, _log) = {
        let mut command = supervisor.command("127.0.0.1:0");
        command.env("WATCHDOG_USEC", "50000");
        started(command).await
    };
    let mut lines = Vec::new();
    while lines.iter().filter(|line| *line == "WATCHDOG=1").count() < 5 {
        lines.push(supervisor.line().await);
    }
    assert!(lines.iter().any(|line| line == "READY=1"), "{lines:?}");

    let mut chat = featherwire(&["chat", "hi", "--gateway", &address]);
    let mut chat = chat
        .args(["--model", "emulator/stall-after-5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0];
    let out = chat.stdout.as_mut().unwrap();
    tokio::io::AsyncReadExt::read_exact(out, &mut first)
        .await
        .unwrap();
    terminate(gateway.id().unwrap()).await;
    while supervisor.line().await != "STOPPING=1" {}
    while supervisor.line().await != "WATCHDOG=1" {}
    terminate(gateway.id().unwrap()).await;
    assert_eq!(gateway.wait().await.unwrap().code(), Some(130));
}
