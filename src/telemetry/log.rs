//! The log of the process, on standard error: what is logged, in which form, and the thread that
//! writes it.

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal},
    panic,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    layer::{Context, Layer, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use super::{
    filter::Filter,
    line::{Format, Line, Look, name},
    writer::Writer,
};

/// The longest wait at the end of the process for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What the log says of lines that standard error did not take.
const LOST_LINE: &str = "lines of the log were lost: standard error did not take them";

/// What the log says of a panic.
const PANIC_LINE: &str = "a bug: a thread panicked";

/// A buffer for lines keeps at most this capacity, in bytes.
const LINE_CAPACITY_MAX: usize = 16 * 1024;

static LOG: OnceLock<Log> = OnceLock::new();

thread_local! {
    /// The line that this thread writes.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Log {
    writer: Writer,
    filter: reload::Handle<Targets, Registry>,
    is_json: AtomicBool,
    has_colours: bool,
}

/// Starts logging to standard error. A second call, as in tests, changes nothing.
pub fn start(filter: Filter, format: Format) {
    let (targets, handle) = reload::Layer::new(filter.0);
    let subscriber = tracing_subscriber::registry().with(targets).with(Lines);
    if subscriber.try_init().is_err() {
        return;
    }
    LOG.get_or_init(|| Log {
        writer: Writer::start(io::stderr(), |lost| {
            let mut text = String::new();
            let mut line = Line::begin(&mut text, look(), Level::WARN, module_path!(), LOST_LINE);
            line.number_field(name!("lines"), lost);
            line.end();
            text
        }),
        filter: handle,
        is_json: AtomicBool::new(format == Format::Json),
        has_colours: io::stderr().is_terminal(),
    });
}

/// Changes what is logged, and in which form, from now on.
pub fn change(filter: Filter, format: Format) {
    if let Some(log) = LOG.get() {
        log.is_json.store(format == Format::Json, Ordering::Relaxed);
        // It fails only after the end of the subscriber, which has none.
        let _ = log.filter.reload(filter.0);
    }
}

/// Waits until all lines are written, for a second at most. Call it before the process ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.writer.flush(FLUSH_TIMEOUT);
    }
}

/// How many lines were lost since the start, because standard error did not take them.
pub fn lost_lines() -> u64 {
    LOG.get().map_or(0, |log| log.writer.lost())
}

/// Writes sentences for the user as lines of the log, if these are JSON objects: then all of
/// standard error is. Returns whether it has done so.
pub fn write_sentences(level: Level, text: &str) -> bool {
    let is_json = look().format == Format::Json && LOG.get().is_some();
    if is_json {
        for sentence in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            write(level, module_path!(), sentence, |_| {});
        }
    }
    is_json
}

/// Logs panics, each as one line, in place of the text of several lines that Rust writes. What a
/// panic says is logged only if it is a fixed text, because others may contain values of callers.
pub fn log_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if LOG.get().is_none() {
            return default(panic);
        }
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload().downcast_ref::<&'static str>();
        write(Level::ERROR, module_path!(), PANIC_LINE, |line| {
            line.text_field(name!("place"), place.as_deref().unwrap_or_default());
            line.text_field(name!("what"), what.copied().unwrap_or_default());
        });
        flush();
    }));
}

/// Writes a line that is no event of `tracing`. The caller asks [`tracing::enabled!`] before.
pub(super) fn write(level: Level, target: &str, message: &str, fields: impl FnOnce(&mut Line<'_>)) {
    let Some(log) = LOG.get() else { return };
    let write = |text: &mut String| {
        text.clear();
        let mut line = Line::begin(text, look(), level, target, message);
        fields(&mut line);
        line.end();
        log.writer.push(text);
        if text.capacity() > LINE_CAPACITY_MAX {
            *text = String::new();
        }
    };
    let is_written = LINE.try_with(|line| match line.try_borrow_mut() {
        Ok(mut text) => {
            write(&mut text);
            true
        }
        Err(_) => false,
    });
    // The thread ends, or a value logs while it is written.
    if is_written != Ok(true) {
        log.writer
            .push("a line of the log was lost: it was logged within another one\n");
    }
}

fn look() -> Look {
    LOG.get().map_or(Look::default(), |log| {
        let is_json = log.is_json.load(Ordering::Relaxed);
        Look {
            format: if is_json { Format::Json } else { Format::Text },
            has_colours: log.has_colours && !is_json,
        }
    })
}

/// Makes lines of the events of `tracing`.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut message = Message(String::new());
        event.record(&mut message);
        write(*metadata.level(), metadata.target(), &message.0, |line| {
            event.record(&mut Fields(line));
        });
    }
}

/// Finds the message among the fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Adds the other fields to a line.
struct Fields<'a, 'b>(&'a mut Line<'b>);

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            let value = format!("{value:?}");
            self.0.event_field(field.name(), &value, true);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // A field for something that there is not.
        if !value.is_empty() {
            self.0.event_field(field.name(), value, true);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let value = if value { "true" } else { "false" };
        self.0.event_field(field.name(), value, false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.0
            .event_field(field.name(), digits.format(value), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.0
            .event_field(field.name(), digits.format(value), false);
    }
}
