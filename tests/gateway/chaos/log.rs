//! The gateway's log lines of one thread.

use std::{
    cell::RefCell,
    fmt::{Debug, Write},
    future::Future,
    sync::{Arc, Mutex, Once},
};

use tokio::sync::Notify;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::dynamic_filter_fn,
    layer::{Context, Layer, SubscriberExt},
};

use super::step::{ID, within};

/// The gateway's log lines of one thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    text: Mutex<String>,
    grown: Notify,
}

thread_local! {
    /// The log of the test that runs on this thread.
    static LISTENER: RefCell<Option<Log>> = const { RefCell::new(None) };
}

impl Log {
    /// Runs a test on this thread, and keeps the log lines of this thread.
    pub fn listen<T>(&self, story: impl Future<Output = T>) -> T {
        // One subscriber for the whole process. With one for each thread, `tracing` could disable a
        // log line for ever if a thread without a subscriber logs the line first.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let ours = |metadata: &Metadata<'_>| metadata.target().starts_with("featherwire");
            let is_heard = dynamic_filter_fn(move |metadata, _| {
                ours(metadata) && LISTENER.with_borrow(Option::is_some)
            });
            let lines = Listener.with_filter(is_heard.with_max_level_hint(LevelFilter::DEBUG));
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines))
                .unwrap();
        });
        LISTENER.set(Some(self.clone()));
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(story);
        LISTENER.set(None);
        result
    }

    pub fn text(&self) -> String {
        self.0.text.lock().unwrap().clone()
    }

    /// The number of lines about the test's call that contain `what`.
    pub fn count(&self, what: &str) -> usize {
        let id = format!("id=\"{ID}\"");
        self.text()
            .lines()
            .filter(|line| line.contains(&id) && line.contains(what))
            .count()
    }

    /// Waits until the log meets `condition`.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            loop {
                let grown = self.0.grown.notified();
                if condition(self) {
                    return;
                }
                grown.await;
            }
        })
        .await;
    }
}

/// Writes each event as a line to the log of the current thread.
struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LISTENER.with_borrow(|log| {
            if let Some(Log(lines)) = log {
                let mut text = lines.text.lock().unwrap();
                text.push_str(&line.0);
                text.push('\n');
                lines.grown.notify_waiters();
            }
        });
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        }
        .unwrap();
    }
}
