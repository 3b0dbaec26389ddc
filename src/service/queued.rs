//! A streamed answer that tells how its call waits for units, for callers who ask for that.
//!
//! The head of a response waits until the answer has started, and a gRPC caller learns nothing before.
//! With the option `queue` it waits no longer than [`HEAD_WAIT`] if the call is in the queue.
//! Then messages without choices follow until the answer starts. They are made when the caller can
//! take one, so a slow reader gets only the newest, and none is kept for it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use super::{
    reply::{LateHeaders, Reply},
    report,
    stream::{AnswerChunk, ResponseStream},
};
use crate::{
    admission::{QueuePosition, Wait},
    error::{Error, Result},
};

/// How long a call must have waited before its caller is told. The headers of shorter waits are
/// complete.
const HEAD_WAIT: Duration = Duration::from_millis(200);

/// The shortest time between two messages.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest time without a message while the call waits. As for the comments of REST.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A reply that waits for the start of its answer. In memory of its own.
pub(super) type Starting<M> = BoxFuture<'static, Result<Reply<ResponseStream<M>>>>;

/// An answer that has not started, because its call waits or has waited for units.
pub(super) struct QueuedAnswer<M> {
    starting: Starting<M>,
    position: QueuePosition,
    /// The model's name in the caller's request.
    requested: Arc<str>,
    /// When the position is looked at.
    ticks: Interval,
    /// What the caller was told, and when.
    told: Option<(Wait, Instant)>,
    late_headers: LateHeaders,
}

/// What comes of an answer that has not started.
#[expect(
    clippy::large_enum_variant,
    reason = "only one of a call is large, and it is moved to where it stays"
)]
pub(super) enum QueueEvent<M> {
    /// The caller is told this.
    Message(M),
    /// It has started.
    Started(ResponseStream<M>),
    /// It does not start.
    Failed(Error),
}

/// The reply of `starting`, whose call has this `position`. If the call waits for units, it is one
/// that tells so and has not started.
pub(super) async fn reply<M: AnswerChunk>(
    mut starting: Starting<M>,
    position: QueuePosition,
    requested: Arc<str>,
) -> Result<Reply<ResponseStream<M>>> {
    let mut looks = interval_at(Instant::now() + HEAD_WAIT, HEAD_WAIT);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            reply = &mut starting => return reply,
            _ = looks.tick() => if has_waited(&position) { break },
        }
    }
    // The first message is due at once.
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let late_headers = LateHeaders::expected();
    let queued = QueuedAnswer {
        starting,
        position,
        requested,
        ticks,
        told: None,
        late_headers: late_headers.clone(),
    };
    Ok(Reply {
        late_headers,
        ..Reply::new(ResponseStream::queued(queued))
    })
}

/// Whether the call is in the queue, and has been there for long enough to be told so.
fn has_waited(position: &QueuePosition) -> bool {
    position.requests_ahead().is_some()
        && position.wait().is_some_and(|wait| wait.waited >= HEAD_WAIT)
}

impl<M: AnswerChunk> QueuedAnswer<M> {
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<QueueEvent<M>> {
        match self.starting.poll_unpin(context) {
            Poll::Ready(Ok(reply)) => {
                self.late_headers.set(reply.headers);
                return Poll::Ready(QueueEvent::Started(reply.answer));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(QueueEvent::Failed(error)),
            Poll::Pending => {}
        }
        while self.ticks.poll_tick(context).is_ready() {
            if let Some(wait) = self.news() {
                return Poll::Ready(QueueEvent::Message(report::of_wait(&self.requested, wait)));
            }
        }
        Poll::Pending
    }

    /// What the caller has not been told, or not for a while: proxies close silent connections.
    fn news(&mut self) -> Option<Wait> {
        let place = |wait: &Wait| (wait.requests_ahead, wait.units);
        let (wait, now) = (self.position.wait()?, Instant::now());
        if let Some((told, at)) = &self.told
            && place(told) == place(&wait)
            && now < *at + SILENCE_MAX
        {
            return None;
        }
        self.told = Some((wait, now));
        Some(wait)
    }
}

impl<M> fmt::Debug for QueuedAnswer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedAnswer")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::{StreamExt, poll};
    use tokio::time::advance;

    use super::*;
    use crate::{
        admission::{Caller, KeyId, PermitRequest, Permits, Settings},
        proto::v1::StreamChatCompletionResponse,
    };

    type Answer = ResponseStream<StreamChatCompletionResponse>;

    /// The requests ahead in the next message.
    async fn ahead(stream: &mut Answer) -> Option<i32> {
        let message = stream.next().await.unwrap().unwrap().into_message();
        message.featherwire.unwrap().queue.unwrap().requests_ahead
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_newest_position_and_no_one_gets_it_twice() {
        let permits = Permits::new(Settings::default(), Duration::from_secs(300), "");
        permits.set_capacity(Some(1));
        let caller = Caller {
            key: KeyId(0),
            weight: 1,
        };
        let request = PermitRequest::new(caller, 1);
        let unwatched = QueuePosition::unwatched();
        let acquire = || permits.acquire("org/model", request, &unwatched);
        let holder = acquire().await.unwrap();
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(acquire())).collect();
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        let position = QueuePosition::default();
        let starting = {
            let (permits, position) = (permits.clone(), position.clone());
            async move {
                let _permit = permits.acquire("org/model", request, &position).await?;
                pending().await
            }
        };
        let asked = Instant::now();
        let reply = reply(starting.boxed(), position, "org/model".into()).await;
        assert_eq!(asked.elapsed(), HEAD_WAIT);
        let mut stream: Answer = reply.unwrap().answer;
        assert_eq!(ahead(&mut stream).await, Some(3));
        for _ in 0..3 {
            others.pop();
            advance(INTERVAL * 2).await;
        }
        assert_eq!(ahead(&mut stream).await, Some(0));
        let told_at = Instant::now();
        advance(INTERVAL * 10).await;
        assert!(stream.next().now_or_never().is_none());
        holder.finish();
        assert_eq!(ahead(&mut stream).await, None);
        assert!(told_at.elapsed() >= INTERVAL * 10);
        advance(INTERVAL * 10).await;
        assert!(stream.next().now_or_never().is_none());
        // Proxies close a connection that is silent for long.
        advance(SILENCE_MAX).await;
        assert_eq!(ahead(&mut stream).await, None);
        assert!(stream.next().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_enters_the_queue_late_is_told_after_the_same_wait() {
        let permits = Permits::new(Settings::default(), Duration::from_secs(300), "");
        permits.set_capacity(Some(1));
        let caller = Caller {
            key: KeyId(0),
            weight: 1,
        };
        let request = PermitRequest::new(caller, 1);
        let unwatched = QueuePosition::unwatched();
        let holder = permits.acquire("org/model", request, &unwatched).await;
        let position = QueuePosition::default();
        let starting = {
            let position = position.clone();
            async move {
                // The catalogue, a lease and the plan come first.
                tokio::time::sleep(HEAD_WAIT * 2 + HEAD_WAIT / 2).await;
                let _permit = permits.acquire("org/model", request, &position).await?;
                pending().await
            }
        };
        let asked = Instant::now();
        let reply = reply(starting.boxed(), position, "org/model".into()).await;
        assert_eq!(asked.elapsed(), HEAD_WAIT * 4);
        let mut stream: Answer = reply.unwrap().answer;
        assert_eq!(ahead(&mut stream).await, Some(0));
        drop(holder);
    }
}
