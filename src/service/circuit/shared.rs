//! Circuits that other gateways of a cluster open and close. A message that is lost does no harm: each
//! gateway still learns by its own calls.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use super::{Circuit, Circuits, Probe, WAIT_MAX, has_room};
use crate::{
    cluster::redis::{MailboxReader, Redis},
    config::MODEL_BYTES_MAX,
};

/// What circuits are called among the gateways.
const TOPIC: &str = "circuits";

/// How much may wait to be told. What does not fit is not told.
const NEWS_MAX: usize = 256;

/// The largest code of an error that is taken over, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// A circuit that has opened or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct News {
    /// The gateway that tells it. A number for each start of a process.
    #[serde(default)]
    from: u64,
    model: Box<str>,
    /// How it has opened. Nothing if it has closed.
    #[serde(default)]
    opened: Option<Opened>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    failures: u32,
    code: Box<str>,
    for_ms: u64,
}

impl News {
    pub(super) fn closed(model: &str) -> Self {
        Self {
            from: 0,
            model: model.into(),
            opened: None,
        }
    }

    pub(super) fn opened(model: &str, failures: u32, code: &str, for_ms: i64) -> Self {
        Self {
            opened: Some(Opened {
                failures,
                code: code.into(),
                for_ms: for_ms.try_into().unwrap_or(0),
            }),
            ..Self::closed(model)
        }
    }
}

/// Circuits that are shared with other gateways while [`run`](Self::run) runs.
#[derive(Debug)]
pub struct SharedCircuits {
    circuits: Circuits,
    redis: Redis,
    from: u64,
    news: mpsc::Receiver<News>,
}

impl Circuits {
    /// Shares the circuits with other gateways through `redis`. Only the first call counts.
    pub fn share(&self, redis: Redis) -> SharedCircuits {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        // Those that are shared already stay.
        let _ = self.0.news.set(sender);
        SharedCircuits {
            circuits: self.clone(),
            redis,
            from: fastrand::u64(1..),
            news,
        }
    }

    pub(super) fn tell(&self, news: News) {
        if let Some(sender) = self.0.news.get() {
            // If too much waits already, the others do not learn of this.
            let _ = sender.try_send(news);
        }
    }

    /// Takes over what another gateway tells.
    fn take_over(&self, news: &News, now: Instant) {
        if self.0.settings.failures == 0 || news.model.len() > MODEL_BYTES_MAX {
            return;
        }
        let (account, mut models) = (&*self.0.account, self.models());
        let Some(opened) = &news.opened else {
            if models
                .remove(&*news.model)
                .is_some_and(|circuit| circuit.open_for.is_some())
            {
                tracing::info!(account, model = %news.model, "circuit closed by another gateway");
            }
            return;
        };
        let open_for = Duration::from_millis(opened.for_ms).min(WAIT_MAX);
        let is_news = match models.get(&*news.model) {
            // A probe of this gateway tells more.
            Some(circuit) if circuit.has_probe() => false,
            Some(circuit) => circuit.left(now).is_none_or(|left| left < open_for),
            None => has_room(&mut models, &news.model, now),
        };
        if !is_news || opened.code.len() > CODE_BYTES_MAX || open_for.is_zero() {
            return;
        }
        let circuit = Circuit {
            failures: opened.failures,
            failed_at: now,
            why: opened.code.clone(),
            open_for: Some(open_for),
            probe: Probe::None,
        };
        models.insert(Arc::from(&*news.model), circuit);
        let open_for_ms = opened.for_ms;
        tracing::info!(
            account,
            model = %news.model,
            code = %opened.code,
            open_for_ms,
            "circuit opened by another gateway"
        );
    }
}

impl SharedCircuits {
    /// Tells other gateways, and listens to them. Never completes.
    pub async fn run(self) {
        let Self {
            circuits,
            redis,
            from,
            mut news,
        } = self;
        let tell = async {
            while let Some(news) = news.recv().await {
                tell(&circuits, &redis, News { from, ..news }).await;
            }
        };
        tokio::join!(tell, listen(&circuits, redis.listen(TOPIC), from));
    }
}

async fn tell(circuits: &Circuits, redis: &Redis, news: News) {
    // Texts and numbers always serialise.
    let message = serde_json::to_vec(&news).unwrap_or_default();
    if let Err(problem) = redis.tell(TOPIC, Bytes::from(message)).await {
        tracing::debug!(
            account = &*circuits.0.account,
            %problem,
            "other gateways do not learn of a circuit"
        );
    }
}

async fn listen(circuits: &Circuits, mut others: MailboxReader, own: u64) {
    loop {
        // Problems are told by the limits, which are shared through the same Redis.
        let messages = others.next().await.unwrap_or_default();
        for message in messages {
            match serde_json::from_slice::<News>(&message) {
                Ok(news) if news.from != own => circuits.take_over(&news, Instant::now()),
                // Its own, or that of another version.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Settings, *};

    const WAIT: Duration = Duration::from_secs(15);

    fn circuits() -> Circuits {
        Circuits::new(
            "",
            Settings {
                failures: 3,
                wait: WAIT,
            },
        )
    }

    #[tokio::test]
    async fn what_another_gateway_opens_is_open_here_until_it_closes_or_a_probe_succeeds() {
        let (circuits, now) = (circuits(), Instant::now());
        let news = News::opened("m", 3, "no_capacity", 15_000);
        circuits.take_over(&news, now);
        let error = circuits.pass("m", now + WAIT / 3).unwrap_err();
        assert_eq!(error.retry_after(), Some(WAIT * 2 / 3));
        assert!(error.message().contains("no_capacity"), "{error}");
        circuits.take_over(&News::closed("m"), now);
        assert!(!circuits.pass("m", now).unwrap().is_probe());
        circuits.take_over(&news, now);
        let probe = circuits.pass("m", now + WAIT).unwrap();
        assert!(probe.is_probe());
        // Another gateway's probe has failed, and this one has not ended.
        let longer = News::opened("m", 4, "no_capacity", 30_000);
        circuits.take_over(&longer, now + WAIT);
        probe.record_success();
        assert!(circuits.pass("m", now + WAIT).is_ok());
        // A probe that fails here doubles the time of the other gateway.
        circuits.take_over(&longer, now);
        let probe = circuits.pass("m", now + 2 * WAIT).unwrap();
        probe.record_failure("no_capacity", now + 2 * WAIT);
        let error = circuits.pass("m", now + 2 * WAIT).unwrap_err();
        assert_eq!(error.retry_after(), Some(4 * WAIT));
    }

    #[tokio::test]
    async fn a_message_neither_shortens_a_circuit_nor_opens_it_for_too_long() {
        let (circuits, now) = (circuits(), Instant::now());
        circuits.take_over(&News::opened("m", 3, "no_capacity", i64::MAX), now);
        let error = circuits.pass("m", now).unwrap_err();
        assert_eq!(error.retry_after(), Some(WAIT_MAX));
        circuits.take_over(&News::opened("m", 3, "no_capacity", 1000), now);
        let error = circuits.pass("m", now).unwrap_err();
        assert_eq!(error.retry_after(), Some(WAIT_MAX));
        let long = "a".repeat(1000);
        circuits.take_over(&News::opened(&long, 3, "no_capacity", 1000), now);
        circuits.take_over(&News::opened("n", 3, &long, 1000), now);
        circuits.take_over(&News::opened("n", 3, "no_capacity", -1), now);
        assert_eq!(circuits.models().len(), 1);
        for number in 0..2 * super::super::MODELS_MAX {
            let news = News::opened(&number.to_string(), 3, "no_capacity", 1000);
            circuits.take_over(&news, now);
        }
        assert_eq!(circuits.models().len(), super::super::MODELS_MAX);
        let off = Circuits::new(
            "",
            Settings {
                failures: 0,
                wait: WAIT,
            },
        );
        off.take_over(&News::opened("m", 3, "no_capacity", 1000), now);
        assert!(off.pass("m", now).is_ok());
    }

    #[test]
    fn the_text_of_a_message_stays_as_it_is() {
        let opened = News::opened("org/m", 3, "no_capacity", 15_000);
        let text = r#"{"from":0,"model":"org/m","opened":{"failures":3,"code":"no_capacity","for_ms":15000}}"#;
        assert_eq!(serde_json::to_string(&opened).unwrap(), text);
        let read = |text: &str| serde_json::from_str::<News>(text);
        assert_eq!(read(text).unwrap(), opened);
        // Another version may tell more.
        let closed = r#"{"model":"org/m","more":1}"#;
        assert_eq!(read(closed).unwrap(), News::closed("org/m"));
        assert!(read("{}").is_err() && read("\0").is_err());
    }
}
