//! The program in a terminal: a pseudo-terminal whose other side is the test.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::PATIENCE;

/// The program in its terminal. Dropping the value kills it.
pub struct Terminal {
    child: Child,
    keys: File,
    /// The side of the program. It keeps the terminal and its settings after the program's end.
    side: OwnedFd,
    output: UnboundedReceiver<Vec<u8>>,
    sequence: Sequence,
    /// What the program has written since the last text that was waited for, without control
    /// sequences. A character can come in two pieces.
    text: Vec<u8>,
    /// All that it has written.
    pub raw: Vec<u8>,
}

/// The place in a control sequence (ECMA-48).
#[derive(Clone, Copy)]
enum Sequence {
    None,
    Escape,
    Control,
}

impl Terminal {
    /// Runs the program in a terminal of this size.
    pub fn run(columns: u16, rows: u16, arguments: &[&str]) -> Self {
        Self::run_with(columns, rows, arguments, |_| {})
    }

    pub fn run_with(
        columns: u16,
        rows: u16,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let side = ioctl_tiocgptpeer(&master, flags).unwrap();
        let keys = File::from(master);
        resize(&keys, columns, rows);
        let stdio = || Stdio::from(side.try_clone().unwrap());
        // It is the terminal of a session of its own, so that Ctrl-C is a signal.
        // Tests that a script runs in the background inherit that Ctrl-C is ignored.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "setsid", "--ctty"]);
        command.arg(env!("CARGO_BIN_EXE_featherwire"));
        command.args(arguments);
        command.env_clear().env("TERM", "xterm-256color");
        command.current_dir(std::env::temp_dir());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        command.kill_on_drop(true);
        change(&mut command);
        let child = command.spawn().unwrap();
        let (send, output) = unbounded_channel();
        let mut screen = keys.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            side,
            output,
            sequence: Sequence::None,
            text: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.keys, columns, rows);
    }

    /// Waits until the program writes a text, and returns what it has written before it.
    pub async fn until(&mut self, text: &str) -> String {
        self.read(text, |terminal| {
            let at = memchr::memmem::find(&terminal.text, text.as_bytes())?;
            let rest = terminal.text.split_off(at + text.len());
            let mut before = std::mem::replace(&mut terminal.text, rest);
            before.truncate(at);
            Some(String::from_utf8(before).unwrap())
        })
        .await
    }

    /// Waits until the program writes a control sequence.
    pub async fn until_raw(&mut self, sequence: &str) {
        self.read(sequence, |terminal| {
            memchr::memmem::find(&terminal.raw, sequence.as_bytes()).map(drop)
        })
        .await;
    }

    /// Reads until `found` finds something. A program that writes other things does not end it.
    async fn read<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let reading = async {
            loop {
                if let Some(found) = found(self) {
                    return Some(found);
                }
                let bytes = self.output.recv().await?;
                self.raw.extend_from_slice(&bytes);
                show(&mut self.sequence, &mut self.text, &bytes);
            }
        };
        match timeout(PATIENCE, reading).await {
            Ok(Some(found)) => found,
            _ => panic!("until {what:?}: {}", String::from_utf8_lossy(&self.text)),
        }
    }

    /// Waits for the end of the program, and returns its exit code. The terminal stays.
    pub async fn wait(&mut self) -> Option<i32> {
        let status = timeout(PATIENCE, self.child.wait()).await;
        status.expect("the program ends").unwrap().code()
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for the end of the program, and returns its exit code and the rest of its output.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let code = self.wait().await;
        // Without a side, reading ends after the last byte.
        drop(self.side);
        while let Some(bytes) = self.output.recv().await {
            show(&mut self.sequence, &mut self.text, &bytes);
        }
        (code, String::from_utf8(self.text).unwrap())
    }

    /// Whether the terminal is as a shell wants it: it shows what is typed, and Ctrl-C is a signal.
    pub fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

/// Adds what is not part of a control sequence. The programs of these tests write no others than
/// those that begin with `ESC [`, and those of one character.
fn show(sequence: &mut Sequence, text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        *sequence = match (*sequence, byte) {
            (Sequence::None, 0x1b) => Sequence::Escape,
            (Sequence::Escape, b'[') => Sequence::Control,
            (Sequence::Control, 0x40..=0x7e) | (Sequence::Escape, _) => Sequence::None,
            (Sequence::Control, _) => Sequence::Control,
            (Sequence::None, byte) => {
                text.push(*byte);
                Sequence::None
            }
        };
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}
