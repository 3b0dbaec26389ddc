//! Redis servers for tests: the real program, if the tests are given one.

use std::process::Stdio;

use featherwire::config::RedisUrl;
use redis::FromRedisValue;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use super::{poll, program::Folder};

/// The path of `redis-server`. `tests/redis/run` sets it.
const PROGRAM: &str = "FEATHERWIRE_TEST_REDIS_SERVER";

/// A Redis of its own, in a folder of its own. It ends with this.
pub struct RedisServer {
    pub port: u16,
    program: String,
    folder: Folder,
    /// What it is started with, besides the port and the folder.
    arguments: Vec<String>,
    password: Option<String>,
    process: Child,
}

impl RedisServer {
    /// An empty Redis. `None` if the tests have no program: then there is nothing to test.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same with these arguments.
    pub async fn start_with(arguments: &[&str]) -> Option<Self> {
        let program = std::env::var(PROGRAM).ok()?;
        let folder = Folder::new();
        let port = free_port().await;
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let password = arguments.iter().position(|text| text == "--requirepass");
        let password = password.map(|place| arguments[place + 1].clone());
        let process = spawn(&program, port, &folder, &arguments);
        let server = Self {
            port,
            program,
            folder,
            arguments,
            password,
            process,
        };
        server.is_ready().await;
        Some(server)
    }

    /// Where it is.
    pub fn url(&self) -> RedisUrl {
        format!("redis://127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// Kills it, as a crash does. What it had in memory is lost.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again after [`kill`](Self::kill).
    pub async fn restart(&mut self) {
        self.process = spawn(&self.program, self.port, &self.folder, &self.arguments);
        self.is_ready().await;
    }

    /// The answer to a command, on a connection of its own.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).await.unwrap()
    }

    pub async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        // A port with TLS has a second one without.
        let password = self.password.as_ref();
        let credentials = password.map_or(String::new(), |password| format!(":{password}@"));
        let plain = self.arguments.iter().position(|text| text == "--port");
        let port = match plain {
            Some(place) => self.arguments[place + 1].clone(),
            None => self.port.to_string(),
        };
        let client = redis::Client::open(format!("redis://{credentials}127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let (name, arguments) = words.split_first().unwrap();
        let mut command = redis::cmd(name);
        command.arg(arguments).query_async(&mut connection).await
    }

    /// How many connections read a mailbox: their last command is XREAD. The connections of
    /// [`command`](Self::command) are not counted: Redis may list them for a while after their end.
    pub async fn readers(&self) -> usize {
        let list: String = self.command(&["CLIENT", "LIST"]).await;
        list.lines()
            .filter(|client| client.contains(" cmd=xread "))
            .count()
    }

    async fn is_ready(&self) {
        poll::until("Redis answers", async || {
            self.try_command::<String>(&["PING"]).await.is_ok()
        })
        .await;
    }
}

fn spawn(program: &str, port: u16, folder: &Folder, arguments: &[String]) -> Child {
    let has_tls = arguments.iter().any(|text| text == "--tls-port");
    let mut command = Command::new(program);
    if arguments.iter().any(|text| text == "--sentinel") {
        // It writes what it finds out into its configuration.
        let file = folder.0.join("sentinel.conf");
        std::fs::write(&file, "").unwrap();
        command.arg(file);
    }
    if !has_tls {
        command.args(["--port", &port.to_string()]);
    }
    command
        .args(["--bind", "127.0.0.1", "--dir"])
        .arg(&folder.0)
        .args(["--save", "", "--daemonize", "no", "--logfile", "redis.log"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A port on which nothing listens.
pub async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
