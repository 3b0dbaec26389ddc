//! A spinner on standard error for work that may take longer than a moment. It is shown only in a
//! terminal, and leaves nothing behind.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use terminal_size::Width;
use tokio::task::JoinHandle;

use super::{columns, output, printable};
use crate::config;

/// Work that ends earlier shows nothing.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// The time between two pictures.
const FRAME: Duration = Duration::from_millis(100);

const PICTURES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Goes to the beginning of the line and clears it (ECMA-48).
const CLEAR: &str = "\r\x1b[K";

/// A running piece of work. It is no longer shown after the value is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    shared: Arc<Mutex<Shared>>,
    /// `None` where nothing is shown.
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    text: String,
    is_drawn: bool,
    has_ended: bool,
}

impl Progress {
    /// Shows nothing.
    pub(super) fn hidden() -> Self {
        Self::new(String::new(), false)
    }

    /// Shows `text`, such as "reading the catalogue", with the time since now.
    pub(super) fn start(text: impl Into<String>) -> Self {
        Self::new(
            text.into(),
            io::stderr().is_terminal() && !config::is_dumb(),
        )
    }

    fn new(text: String, is_shown: bool) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            text,
            is_drawn: false,
            has_ended: !is_shown,
        }));
        let draw = || tokio::spawn(draw(Arc::clone(&shared), Instant::now()));
        let task = is_shown.then(draw);
        Self { shared, task }
    }

    /// Changes the text.
    pub(super) fn say(&self, text: impl Into<String>) {
        lock(&self.shared).text = text.into();
    }

    /// Ends it before the value is dropped.
    pub(super) fn end(&self) {
        let mut shared = lock(&self.shared);
        shared.has_ended = true;
        if std::mem::take(&mut shared.is_drawn) {
            output::draw(CLEAR);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.end();
    }
}

async fn draw(shared: Arc<Mutex<Shared>>, started: Instant) {
    tokio::time::sleep(SHOWN_AFTER).await;
    for picture in PICTURES.iter().cycle() {
        {
            let mut shared = lock(&shared);
            if shared.has_ended {
                return;
            }
            shared.is_drawn = true;
            let size = terminal_size::terminal_size_of(io::stderr());
            let columns = size.map_or(columns::MIN, |(Width(width), _)| usize::from(width));
            let line = line(*picture, &shared.text, started.elapsed(), columns);
            output::draw(format_args!("{CLEAR}{line}"));
        }
        tokio::time::sleep(FRAME).await;
    }
}

/// A line that does not wrap: a line that does could not be cleared.
fn line(picture: char, text: &str, elapsed: Duration, columns: usize) -> String {
    let time = format!("{:.1} s", elapsed.as_secs_f64());
    let room = columns.saturating_sub(time.chars().count() + 6);
    let text: String = printable::line(text).chars().take(room).collect();
    format!("{picture} {text} · {time}")
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_into_its_columns() {
        let time = Duration::from_millis(1240);
        assert_eq!(line('|', "asks\x1b", time, 80), "| asks · 1.2 s");
        for columns in [12, 20, 40] {
            let line = line('|', &"model ".repeat(20), time, columns);
            assert!(line.chars().count() < columns, "{columns}: {line}");
        }
    }
}
