//! The program, run as a user runs it.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::clock::PATIENCE;

/// The command, in an empty environment and an empty folder.
pub fn featherwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featherwire"));
    command
        .args(arguments)
        .env_clear()
        // Nothing of a test stays in the user's data directory.
        .env("FEATHERWIRE_DATABASE_URL", "sqlite::memory:")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The lines of a program's log, as they come.
pub type Log = UnboundedReceiver<String>;

/// The next line that has what `is_it` asks for.
pub async fn line_with(log: &mut Log, is_it: impl Fn(&str) -> bool) -> String {
    let line = async {
        loop {
            let line = log.recv().await.expect("the program has not ended");
            if is_it(&line) {
                return line;
            }
        }
    };
    tokio::time::timeout(PATIENCE, line)
        .await
        .expect("the program writes it")
}

/// Tells a program to end, as supervisors do.
pub async fn terminate(pid: u32) {
    let kill = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status()
        .await;
    assert!(kill.unwrap().success());
}

/// `serve` with these arguments, and the address it says it listens on.
pub async fn serve(arguments: &[&str]) -> (Child, String) {
    let (child, address, _) = serve_with_log(arguments).await;
    (child, address)
}

pub async fn serve_with_log(arguments: &[&str]) -> (Child, String, Log) {
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    started(command).await
}

pub async fn started(mut command: Command) -> (Child, String, Log) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (send, log) = unbounded_channel();
    let address = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let mut words = line.split_whitespace();
        if let Some(address) =
            words.find(|word| word.starts_with("http://") || word.starts_with("https://"))
        {
            // In a JSON object, a quote and a bracket follow.
            break address.trim_end_matches(['"', '}']).to_owned();
        }
        let _ = send.send(line);
    };
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            // The pipe is read to its end even if the test does not use it, because a full pipe
            // stops the
            // program.
            let _ = send.send(line);
        }
    });
    (child, address, log)
}

/// A temporary folder with a `.env` in it. Dropping the value deletes the folder.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = Self::with_dotenv("");
        std::fs::remove_file(folder.0.join(".env")).unwrap();
        folder
    }

    pub fn with_dotenv(dotenv: impl AsRef<[u8]>) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("featherwire-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(".env"), dotenv).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
