//! The ways to get an answer from one model: complete, as a stream, or as a stream that is
//! accumulated into a complete answer.

use std::{future::Future, marker::PhantomData, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;

use super::{circuit::CircuitPass, route::Candidate, stats::CallStats, usage::TellsUsage};
use crate::{
    admission::Permit,
    error::{Error, Result},
    upstream::{
        self, Attempts, Client, RequestOptions, StartedStream, StreamMessage, UnaryMessage,
    },
};

/// A way to get an answer from one model.
pub(super) trait Exchange {
    /// What the upstream sends.
    type Received: Send;
    /// What is made of it for the caller.
    type Answer: Send;

    /// Whether the upstream streams the answer.
    const IS_STREAM: bool;

    /// How long the upstream must have been silent at the caller's deadline for the silence to
    /// count against the model. After a shorter time, only the caller was impatient.
    const SILENCE_MIN: Duration;

    /// Sends the request, and waits for the start of the answer.
    ///
    /// # Errors
    /// The meaning of the upstream's reply.
    fn send(
        upstream: &Client,
        attempts: &mut Attempts<'_>,
        path: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> impl Future<Output = Result<upstream::Reply<Self::Received>>> + Send;

    /// Makes the answer of what `candidate` sends. It ends `permit`, or takes it over together with
    /// the candidate's circuit pass if the answer goes on after this. Until then, `stats` counts
    /// the answer.
    ///
    /// # Errors
    /// A failure before the answer has reached the caller; another model may be asked.
    fn complete(
        received: Self::Received,
        permit: Permit,
        candidate: &mut Candidate,
        stats: &CallStats,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;
}

/// A complete answer.
pub(super) struct Unary<M>(PhantomData<M>);

impl<M: UnaryMessage + Send> Exchange for Unary<M> {
    type Received = M;
    type Answer = M;

    const IS_STREAM: bool = false;

    // A complete answer is silent while it is generated. Featherless's front end waits this long.
    const SILENCE_MIN: Duration = Duration::from_secs(90);

    async fn send(
        upstream: &Client,
        attempts: &mut Attempts<'_>,
        path: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<upstream::Reply<M>> {
        upstream.post_with(attempts, path, body, options).await
    }

    async fn complete(received: M, permit: Permit, _: &mut Candidate, _: &CallStats) -> Result<M> {
        permit.finish();
        Ok(received)
    }
}

/// A streamed answer.
pub(super) struct Streamed<M>(PhantomData<M>);

/// A streamed answer that has started, and what it holds until its end.
#[derive(Debug)]
pub(super) struct StartedAnswer<M> {
    pub(super) chunks: StartedStream<M>,
    pub(super) permit: Permit,
    /// Tells the model's circuit how the stream ends. If the caller disconnects, that says nothing
    /// about the model.
    pub(super) pass: Option<CircuitPass>,
}

impl<M> StartedAnswer<M> {
    /// Ends an answer that is complete.
    pub(super) fn finish(self) {
        drop(self.chunks);
        self.pass.into_iter().for_each(CircuitPass::record_success);
        self.permit.finish();
    }

    /// Ends an answer that failed with `error`.
    pub(super) fn fail(self, error: &Error) {
        drop(self.chunks);
        self.pass.into_iter().for_each(|pass| pass.record(error));
        self.permit.fail(error);
    }
}

/// After this time without a token, a silent stream counts against its model.
const STREAM_SILENCE_MIN: Duration = Duration::from_secs(20);

impl<M: StreamMessage + Send> Exchange for Streamed<M> {
    type Received = StartedStream<M>;
    type Answer = StartedAnswer<M>;

    const IS_STREAM: bool = true;
    const SILENCE_MIN: Duration = STREAM_SILENCE_MIN;

    async fn send(
        upstream: &Client,
        attempts: &mut Attempts<'_>,
        path: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<upstream::Reply<StartedStream<M>>> {
        upstream.stream_with(attempts, path, body, options).await
    }

    async fn complete(
        chunks: StartedStream<M>,
        permit: Permit,
        candidate: &mut Candidate,
        _: &CallStats,
    ) -> Result<StartedAnswer<M>> {
        Ok(StartedAnswer {
            chunks,
            permit,
            pass: candidate.take_pass(),
        })
    }
}

/// Adds up the messages of a streamed answer.
pub trait Accumulate<M>: Default + Send {
    /// The complete answer.
    type Answer: Send;

    /// Adds the next message.
    fn add(&mut self, chunk: M);

    /// Whether the messages together take more memory than an answer may.
    fn is_too_large(&self) -> bool;

    /// The answer, after the last message.
    fn finish(self) -> Self::Answer;
}

/// A streamed answer that is accumulated by `A` into a complete one. The caller gets nothing before
/// its end, so after a failure at any time another model may be asked.
pub(super) struct Accumulated<M, A>(PhantomData<(M, A)>);

impl<M: StreamMessage + TellsUsage + Send, A: Accumulate<M>> Exchange for Accumulated<M, A> {
    type Received = StartedStream<M>;
    type Answer = A::Answer;

    const IS_STREAM: bool = true;
    const SILENCE_MIN: Duration = STREAM_SILENCE_MIN;

    async fn send(
        upstream: &Client,
        attempts: &mut Attempts<'_>,
        path: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<upstream::Reply<StartedStream<M>>> {
        Streamed::send(upstream, attempts, path, body, options).await
    }

    async fn complete(
        chunks: StartedStream<M>,
        permit: Permit,
        _: &mut Candidate,
        stats: &CallStats,
    ) -> Result<A::Answer> {
        match accumulate::<M, A>(chunks, stats).await {
            Ok(answer) => {
                permit.finish();
                Ok(answer)
            }
            Err(error) => {
                permit.fail(&error);
                Err(error)
            }
        }
    }
}

/// Adds up all `chunks`. It drops them, which closes the upstream connection, before it returns.
async fn accumulate<M: StreamMessage + TellsUsage, A: Accumulate<M>>(
    mut chunks: StartedStream<M>,
    stats: &CallStats,
) -> Result<A::Answer> {
    let mut accumulator = A::default();
    while let Some(mut chunk) = chunks.next().await.transpose()? {
        stats.note_chunk(&mut chunk);
        accumulator.add(chunk.into_message());
        if accumulator.is_too_large() {
            return Err(upstream::too_large());
        }
    }
    Ok(accumulator.finish())
}
