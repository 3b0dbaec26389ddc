//! The snapshots of the units. A stream that breaks is opened again.

use std::{convert::Infallible, time::Duration};

use tokio::{sync::mpsc::Sender, time::sleep};
use tonic::{Status, Streaming, service::interceptor::InterceptedService, transport::Channel};

use super::super::{
    client::{self, Key},
    failure::Failure,
};
use crate::proto::v1::{
    Concurrency, WatchConcurrencyRequest, account_service_client::AccountServiceClient,
};

/// The pause before the first attempt to open the stream again. It doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);

type Client = AccountServiceClient<InterceptedService<Channel, Key>>;

/// What the feed tells.
#[derive(Debug)]
pub(super) enum News {
    Snapshot(Box<Concurrency>),
    /// The stream has broken, and is opened again after a pause.
    Lost {
        problem: String,
        pause: Duration,
    },
    /// The pause is over.
    Connecting,
}

/// The stream of snapshots.
#[derive(Debug)]
pub(super) struct Feed {
    client: Client,
    stream: Streaming<Concurrency>,
}

impl Feed {
    /// Opens the stream.
    ///
    /// # Errors
    /// The gateway refuses it, or is not reached.
    pub(super) async fn open(mut client: Client) -> Result<Self, Failure> {
        let stream = watch(&mut client).await;
        let stream = stream.map_err(|status| client::failure(&status))?;
        Ok(Self { client, stream })
    }

    /// The next snapshot. `None` after the last one.
    ///
    /// # Errors
    /// The stream breaks.
    pub(super) async fn next(&mut self) -> Result<Option<Concurrency>, Failure> {
        let message = self.stream.message().await;
        message.map_err(|status| client::failure(&status))
    }

    /// Tells all snapshots, for ever.
    pub(super) async fn follow(mut self, news: Sender<News>) -> Infallible {
        let mut pause = PAUSE_MIN;
        loop {
            let problem = loop {
                match self.stream.message().await {
                    Ok(Some(snapshot)) => {
                        pause = PAUSE_MIN;
                        tell(&news, News::Snapshot(Box::new(snapshot))).await;
                    }
                    Ok(None) => break "the gateway has ended the stream".to_owned(),
                    Err(status) => break sentence(&status),
                }
            };
            let mut problem = Some(problem);
            while let Some(lost) = problem.take() {
                tell(
                    &news,
                    News::Lost {
                        problem: lost,
                        pause,
                    },
                )
                .await;
                sleep(pause).await;
                pause = (2 * pause).min(PAUSE_MAX);
                tell(&news, News::Connecting).await;
                match watch(&mut self.client).await {
                    Ok(stream) => self.stream = stream,
                    Err(status) => problem = Some(sentence(&status)),
                }
            }
        }
    }
}

async fn watch(client: &mut Client) -> Result<Streaming<Concurrency>, Status> {
    let reply = client.watch_concurrency(WatchConcurrencyRequest {}).await?;
    Ok(reply.into_inner())
}

fn sentence(status: &Status) -> String {
    match client::failure(status) {
        Failure::Failed(sentence) | Failure::Usage(sentence) => sentence,
        Failure::OutputClosed => String::new(),
    }
}

async fn tell(news: &Sender<News>, one: News) {
    // There is always a receiver: it runs this future.
    let _ = news.send(one).await;
}
