//! What the user does in the full screen.
//!
//! On Unix this reads the terminal itself. The events of `crossterm` lose a key that arrives together
//! with another size: both are ready, and only the size is returned.

use std::{
    future,
    io::{self, IsTerminal},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

/// How often the thread that reads keys looks whether the screen still exists.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Inputs that wait.
const INPUTS_MAX: usize = 16;

/// What the user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    /// The terminal has another size.
    Resize,
}

/// The inputs of the user.
pub(super) struct Inputs {
    /// `None` without a terminal to read.
    read: Option<mpsc::Receiver<Input>>,
    sizes: system::Sizes,
}

impl Inputs {
    /// Reads the inputs in a thread, because the terminal is read by blocking calls.
    pub(super) fn read() -> Self {
        let sizes = system::Sizes::watch();
        if !io::stdin().is_terminal() {
            return Self { read: None, sizes };
        }
        let (send, receive) = mpsc::channel(INPUTS_MAX);
        thread::spawn(move || {
            while !send.is_closed() {
                // Without a terminal nobody can end the screen later.
                let input = system::wait(LOOK_EVERY).unwrap_or(Some(Input::Quit));
                if let Some(input) = input {
                    let _ = send.blocking_send(input);
                }
            }
        });
        let read = Some(receive);
        Self { read, sizes }
    }

    /// The next input. Without a terminal to read there are only other sizes.
    pub(super) async fn next(&mut self) -> Input {
        let read = async {
            match &mut self.read {
                Some(inputs) => inputs.recv().await.unwrap_or(Input::Quit),
                None => future::pending().await,
            }
        };
        tokio::select! {
            input = read => input,
            () = self.sizes.next() => Input::Resize,
        }
    }
}

#[cfg(unix)]
mod system {
    use std::{future, io, time::Duration};

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        io::{Errno, read},
    };
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Input;

    /// The bytes that are read at once. The bytes of one key come together.
    const READ_BYTES_MAX: usize = 1024;

    const CONTROL_C: u8 = 0x03;
    const CONTROL_D: u8 = 0x04;
    const ESCAPE: u8 = 0x1b;

    /// The signals that the terminal has another size.
    pub(super) struct Sizes(Option<Signal>);

    impl Sizes {
        pub(super) fn watch() -> Self {
            // Without the signal, the next picture has the new size.
            Self(signal(SignalKind::window_change()).ok())
        }

        pub(super) async fn next(&mut self) {
            match &mut self.0 {
                Some(signal) => _ = signal.recv().await,
                None => future::pending().await,
            }
        }
    }

    /// Waits for an input, at most for `wait`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn wait(wait: Duration) -> io::Result<Option<Input>> {
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        let terminal = io::stdin();
        match poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; READ_BYTES_MAX];
        match read(&terminal, &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let bytes = bytes.get(..count).unwrap_or_default();
                Ok(quits(bytes).then_some(Input::Quit))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether one of these keys ends the screen.
    fn quits(keys: &[u8]) -> bool {
        let mut left = keys;
        loop {
            left = match left {
                [] => return false,
                [b'q' | b'Q' | CONTROL_C | CONTROL_D, ..] | [ESCAPE] => return true,
                // The sequence of another key, as ECMA-48 and VT100 have them.
                [ESCAPE, b'[', rest @ ..] => {
                    let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                    end.and_then(|end| rest.get(end + 1..)).unwrap_or_default()
                }
                [ESCAPE, b'O', rest @ ..] => rest.get(1..).unwrap_or_default(),
                // With Alt.
                [ESCAPE, _, rest @ ..] | [_, rest @ ..] => rest,
            };
        }
    }

    #[cfg(test)]
    mod tests {
        use super::quits;

        #[test]
        fn the_sequences_of_other_keys_end_nothing() {
            for keys in [
                "q",
                "xQ",
                "\u{3}",
                "\u{4}",
                "\u{1b}",
                "\u{1b}[Aq",
                "\u{1b}OQq",
                "\u{1b}[1;5Qq",
                "\u{1b}q\u{1b}",
                "éq",
            ] {
                assert!(quits(keys.as_bytes()), "{keys:?}");
            }
            // Letters, arrows, F2 and Shift-F2, Alt-q, an incomplete sequence.
            for keys in [
                "",
                "x",
                "ä",
                "\u{1b}[A",
                "\u{1b}[1;2Q",
                "\u{1b}OQ",
                "\u{1b}q",
                "\u{1b}[",
                "\u{1b}O",
                "\u{1b}[1;",
            ] {
                assert!(!quits(keys.as_bytes()), "{keys:?}");
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::{future, io, time::Duration};

    use crossterm::event::{self, Event, KeyCode, KeyModifiers};

    use super::Input;

    /// Other sizes are among the events.
    pub(super) struct Sizes;

    impl Sizes {
        pub(super) fn watch() -> Self {
            Self
        }

        pub(super) async fn next(&mut self) {
            future::pending().await
        }
    }

    /// Waits for an input, at most for `wait`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn wait(wait: Duration) -> io::Result<Option<Input>> {
        if !event::poll(wait)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Resize(..) => Some(Input::Resize),
            Event::Key(key) => {
                let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                let quits = match key.code {
                    KeyCode::Char('c' | 'd') => is_control,
                    KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
                    _ => false,
                };
                quits.then_some(Input::Quit)
            }
            _ => None,
        })
    }
}
