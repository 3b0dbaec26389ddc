//! A program under test in its own process, and the kernel's numbers about it. Linux only: it reads
//! `/proc`.

use std::{
    env, fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The longest time for the program to end after the signal.
const END_TIMEOUT: Duration = Duration::from_secs(40);

/// A running `featherwire`, killed when the value is dropped.
pub struct Process {
    child: Child,
    /// The base URL, without a path.
    pub url: String,
    numbers: Numbers,
}

/// Reads the kernel's numbers about a process.
#[derive(Clone)]
pub struct Numbers(PathBuf);

impl Process {
    /// Starts the program in the same folder as this one, or the program in `FEATHERWIRE`, with
    /// these
    /// arguments and only this environment. `descriptors` limits its open descriptors.
    pub async fn start(
        arguments: &[&str],
        environment: &[(&str, &str)],
        descriptors: Option<usize>,
    ) -> Self {
        let beside = || {
            env::current_exe()
                .unwrap()
                .ancestors()
                .nth(2)
                .unwrap()
                .join("featherwire")
        };
        let program = env::var_os("FEATHERWIRE").map_or_else(beside, PathBuf::from);
        let mut command = match descriptors {
            None => Command::new(&program),
            Some(descriptors) => {
                let mut shell = Command::new("/bin/sh");
                shell
                    .args([
                        "-c",
                        &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""),
                    ])
                    .arg(&program);
                shell
            }
        };
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("FEATHERWIRE_DATABASE_URL", "sqlite::memory:")
            .envs(environment.iter().copied())
            .current_dir(env::temp_dir())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway's program: build it first");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next_line().await.unwrap().expect("an address");
            if let Some(address) = line
                .split_whitespace()
                .find(|word| word.starts_with("http://127.0.0.1:"))
            {
                break address
                    .trim_end_matches(['/', ',', '.'])
                    .trim_end_matches("/v1")
                    .to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let numbers = Numbers(PathBuf::from(format!("/proc/{}", child.id().unwrap())));
        Self {
            child,
            url,
            numbers,
        }
    }

    pub fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Sends the signal to end, and waits until the program has ended.
    pub async fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap();
        timeout(END_TIMEOUT, self.child.wait())
            .await
            .expect("it drains")
            .unwrap()
    }
}

impl Numbers {
    /// The number of open descriptors.
    #[allow(dead_code, reason = "only one example counts them")]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.0.join("fd")).unwrap().count()
    }

    /// The resident memory, in bytes. 0 if the process has ended.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(self.0.join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }

    /// The processor time that the process has used.
    #[allow(dead_code, reason = "only one example uses it")]
    pub fn processor_time(&self) -> Duration {
        /// `USER_HZ`, which is the same on every Linux that Rust's standard library supports.
        const TICKS_PER_SECOND: u64 = 100;
        let stat = fs::read_to_string(self.0.join("stat")).unwrap_or_default();
        // The name may contain spaces. After it there are 11 fields, then the times of the user and
        // of the system.
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }
}

pub fn mib(bytes: f64) -> f64 {
    bytes / 1024.0 / 1024.0
}
