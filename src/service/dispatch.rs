//! Asking for an answer: the one way by which chat, completions and embeddings reach the upstream.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    Call, Reply, ResponseStream, Units,
    circuit::{self, Circuits, Pass},
    prepared::{self, Prepared},
    report::{self, Reported},
    route::{Attempt, Route},
};
use crate::{
    admission::Permit,
    config,
    error::{Error, Result},
    proto::v1::CallReport,
    upstream::{self, Attempts, Catalogue, Client, RequestOptions, StreamMessage, UnaryMessage},
};

/// The header, and metadata key, with how long the call waited for concurrency units, in
/// milliseconds.
pub const WAITED: &str = "x-featherwire-waited-ms";

/// The longest wait between two tries of one request for which it keeps its units. Before a longer
/// one it gives them back, and then waits for units again, first of its queue.
const WAIT_WITH_UNITS_MAX: Duration = Duration::from_millis(400);

impl<T> Reply<T> {
    /// The same reply after this wait for units.
    fn after(mut self, waited_ms: u64) -> Self {
        self.headers.insert(WAITED, waited_ms.into());
        self
    }

    /// The same reply with a report of the call in its answer, if the caller asked for one.
    fn reported(mut self, call: &Call, route: Route) -> Self
    where
        T: Reported,
    {
        *self.answer.report().0 = report::of(call, route, &self.headers);
        self
    }
}

/// A streamed answer that has begun, and what it holds until its end.
#[derive(Debug)]
pub(super) struct Begun<M> {
    pub(super) pieces: upstream::StartedStream<M>,
    pub(super) permit: Permit,
    /// The model's circuit hears how the stream ends.
    pub(super) pass: Option<Pass>,
    /// What is told of the call after its last piece, if that is wanted.
    pub(super) report: Option<Box<CallReport>>,
}

/// Gives the units of a request that failed back: at once if upstream refused it. What we gave up
/// on, or was cut, may go on upstream until it notices that the connection was closed.
pub(super) fn failed(permit: Permit, error: Error) -> Error {
    if !error.may_go_on_upstream() {
        permit.finish();
    }
    error
}

/// The permit of a request that was never sent is given back, as if it had left the queue.
fn not_asked(call: &Call, permit: Permit, error: Error) -> Error {
    call.has_waited(permit.waited());
    permit.cancel_unsent();
    error
}

/// What a streamed answer adds up to.
pub trait Sum<M>: Default + Send {
    /// The answer.
    type Whole: Reported;

    /// Adds the next piece.
    fn add(&mut self, piece: M);

    /// Whether the pieces together take more memory than an answer may.
    fn is_too_large(&self) -> bool;

    /// All pieces have come.
    fn finish(self) -> Self::Whole;
}

/// The way to the upstream. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Dispatch {
    upstream: Client,
    catalogue: Catalogue,
    units: Units,
    circuits: Circuits,
    /// For each model that has some, its fallbacks in order.
    fallbacks: Arc<BTreeMap<String, Vec<String>>>,
    fallback_first_token_timeout: Duration,
}

/// A request that models answer, as the upstream shall see it.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// Its path below the upstream's base URL.
    const PATH: &'static [&'static str];

    /// Whether another model may answer instead. Texts of two models say the same thing; vectors of
    /// two models don't.
    const MAY_FALL_BACK: bool;

    /// The model that is asked for.
    fn model(&mut self) -> &mut String;

    /// How many choices the answer shall have.
    fn choices(&self) -> usize;
}

/// A request that is checked, and ready to be sent.
#[derive(Debug)]
pub(super) struct Ready<R> {
    prepared: Prepared,
    /// The name that the caller asked for.
    asked: String,
    choices: usize,
    request: PhantomData<fn() -> R>,
}

impl Dispatch {
    /// The way to this upstream; the catalogue knows what its models are like.
    pub fn new(
        upstream: Client,
        catalogue: Catalogue,
        units: Units,
        config: &config::Models,
    ) -> Self {
        let settings = circuit::Settings {
            failures: config.circuit_failures,
            wait: config.circuit_wait,
        };
        // By the upstream's ids, whichever name is asked for.
        let real = |id: &String| catalogue.names().resolve(id).to_owned();
        let fallbacks = config.fallbacks.iter();
        let fallbacks = fallbacks
            .map(|own| (real(&own.model), own.others.iter().map(real).collect()))
            .collect();
        Self {
            upstream,
            catalogue,
            units,
            circuits: Circuits::new(settings),
            fallbacks: Arc::new(fallbacks),
            fallback_first_token_timeout: config.fallback_first_token_timeout,
        }
    }

    /// Makes a request ready, after this check.
    ///
    /// # Errors
    /// The check's own; Invalid, for what only a gRPC caller can get wrong; Unavailable, if there
    /// is no room for its bytes.
    pub(super) async fn prepare<R: Request>(
        &self,
        call: &Call,
        request: R,
        check: impl FnOnce(&mut R) -> Result<()> + Send + 'static,
    ) -> Result<Ready<R>> {
        let names = self.catalogue.names().clone();
        let (prepared, (asked, choices)) =
            prepared::prepare(call, request, move |request: &mut R| {
                check(request)?;
                let asked = request.model().clone();
                let model = names.resolve(&asked).to_owned();
                request.model().clone_from(&model);
                Ok((model, (asked, request.choices())))
            })
            .await?;
        Ok(Ready {
            prepared,
            asked,
            choices,
            request: PhantomData,
        })
    }

    /// Asks for a whole answer.
    ///
    /// # Errors
    /// What the upstream's reply means: for the model asked for, when its fallbacks fail too.
    pub(super) async fn whole<R: Request, M: UnaryMessage + Reported>(
        &self,
        call: &Call,
        request: Ready<R>,
    ) -> Result<Reply<M>> {
        let asked = request.asked.clone();
        self.find_whole(call, request)
            .await
            .map_err(|error| error.with_model(&asked))
    }

    async fn find_whole<R: Request, M: UnaryMessage + Reported>(
        &self,
        call: &Call,
        mut request: Ready<R>,
    ) -> Result<Reply<M>> {
        let mut route = self.route(call, &request);
        loop {
            let (mut attempt, body) = next(&mut route, &mut request).await?;
            let result = self.ask_whole::<R, M>(call, &mut attempt, body).await;
            if let Some(answered) = route.end(attempt, result).await? {
                return Ok(answered.reported(call, route));
            }
        }
    }

    /// Asks one model for a whole answer, as soon as there are units.
    async fn ask_whole<R: Request, M: UnaryMessage>(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        body: Bytes,
    ) -> Result<Reply<M>> {
        let mut permit = self.units.acquire(call, &attempt.model).await?;
        let mut tries = None;
        loop {
            let is_single = match attempt.begin_whole() {
                Ok(is_probe) => is_probe,
                Err(error) => return Err(not_asked(call, permit, error)),
            };
            let ask = ask(
                call,
                attempt,
                RequestOptions {
                    is_single,
                    ..RequestOptions::default()
                },
            );
            let tries_now =
                tries.get_or_insert_with(|| self.upstream.attempts(ask, WAIT_WITH_UNITS_MAX));
            match self
                .upstream
                .post_with(tries_now, R::PATH, body.clone(), ask)
                .await
            {
                Ok(reply) => {
                    permit.mark_admitted();
                    call.facts.answered(permit.units());
                    let answered = Reply::from(reply).after(call.has_waited(permit.waited()));
                    permit.finish();
                    return Ok(answered);
                }
                Err(error) => permit = self.again(call, attempt, permit, &mut tries, error).await?,
            }
        }
    }

    /// Asks for a whole answer by way of a stream of at most this many bytes, which is added up.
    /// The caller has seen nothing of it before its end, so whatever goes wrong until then may be
    /// cured by another model.
    ///
    /// # Errors
    /// What the upstream's reply means: for the model asked for, when its fallbacks fail too.
    pub(super) async fn whole_via_stream<R: Request, M: StreamMessage, S: Sum<M>>(
        &self,
        call: &Call,
        request: Ready<R>,
        bytes_max: usize,
    ) -> Result<Reply<S::Whole>> {
        let asked = request.asked.clone();
        let whole = self
            .find_whole_via_stream::<R, M, S>(call, request, bytes_max)
            .await;
        whole.map_err(|error| error.with_model(&asked))
    }

    async fn find_whole_via_stream<R: Request, M: StreamMessage, S: Sum<M>>(
        &self,
        call: &Call,
        mut request: Ready<R>,
        bytes_max: usize,
    ) -> Result<Reply<S::Whole>> {
        let mut route = self.route(call, &request);
        let limits = RequestOptions {
            choices: request.choices,
            bytes_max: Some(bytes_max),
            ..RequestOptions::default()
        };
        loop {
            let (mut attempt, body) = next(&mut route, &mut request).await?;
            let result = self
                .add_up::<R, M, S>(call, &mut attempt, body, limits)
                .await;
            if let Some(answered) = route.end(attempt, result).await? {
                return Ok(answered.reported(call, route));
            }
        }
    }

    /// Asks one model for a streamed answer, and adds it up.
    async fn add_up<R: Request, M: StreamMessage, S: Sum<M>>(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        body: Bytes,
        limits: RequestOptions<'_>,
    ) -> Result<Reply<S::Whole>> {
        let Reply {
            answer: (mut pieces, permit),
            headers,
        } = self.ask_stream::<R, M>(call, attempt, body, limits).await?;
        let mut sum = S::default();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => sum.add(piece),
                Err(error) => return Err(failed(permit, error)),
            }
            if sum.is_too_large() {
                return Err(failed(permit, upstream::too_large()));
            }
        }
        permit.finish();
        Ok(Reply {
            answer: sum.finish(),
            headers,
        })
    }

    /// Asks for a streamed answer, and waits for its first piece: what fails before that has not
    /// begun, and may be asked of another model. The answer's end is told to the call, and to the
    /// model's circuit.
    ///
    /// # Errors
    /// What the upstream's reply means: for the model asked for, when its fallbacks fail too.
    pub(super) async fn stream<R: Request, M: StreamMessage + Reported + Default>(
        &self,
        call: Call,
        request: Ready<R>,
    ) -> Result<Reply<ResponseStream<M>>> {
        let asked = request.asked.clone();
        let begun = call
            .begin(self.begin(&call, request))
            .await
            .map_err(|error| error.with_model(&asked))?;
        Ok(begun.map(|begun| ResponseStream::new(begun, call, asked)))
    }

    async fn begin<R: Request, M: StreamMessage>(
        &self,
        call: &Call,
        mut request: Ready<R>,
    ) -> Result<Reply<Begun<M>>> {
        let mut route = self.route(call, &request);
        let limits = RequestOptions {
            choices: request.choices,
            ..RequestOptions::default()
        };
        loop {
            let (mut attempt, body) = next(&mut route, &mut request).await?;
            let result = self
                .ask_stream::<R, M>(call, &mut attempt, body, limits)
                .await;
            let pass = if result.is_ok() {
                attempt.take_pass()
            } else {
                None
            };
            if let Some(answered) = route.end(attempt, result).await? {
                let report = report::of(call, route, &answered.headers);
                return Ok(answered.map(|(pieces, permit)| Begun {
                    pieces,
                    permit,
                    pass,
                    report,
                }));
            }
        }
    }

    /// Asks one model for a streamed answer, as soon as there are units, and waits for its first
    /// piece that has something of the answer in it.
    async fn ask_stream<R: Request, M: StreamMessage>(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        body: Bytes,
        limits: RequestOptions<'_>,
    ) -> Result<Reply<(upstream::StartedStream<M>, Permit)>> {
        let mut permit = self.units.acquire(call, &attempt.model).await?;
        let mut tries = None;
        loop {
            let is_single = match attempt.begin() {
                Ok(is_probe) => is_probe,
                Err(error) => return Err(not_asked(call, permit, error)),
            };
            let ask = ask(
                call,
                attempt,
                RequestOptions {
                    is_single,
                    ..limits
                },
            );
            let tries_now =
                tries.get_or_insert_with(|| self.upstream.attempts(ask, WAIT_WITH_UNITS_MAX));
            match self
                .upstream
                .stream_with(tries_now, R::PATH, body.clone(), ask)
                .await
            {
                Ok(reply) => {
                    permit.mark_admitted();
                    attempt.has_begun();
                    call.facts.answered(permit.units());
                    call.facts.has_begun(call.arrived_at.elapsed());
                    let waited_ms = call.has_waited(permit.waited());
                    return Ok(Reply::from(reply.map(|pieces| (pieces, permit))).after(waited_ms));
                }
                Err(error) => permit = self.again(call, attempt, permit, &mut tries, error).await?,
            }
        }
    }

    /// A try has failed with this error. The permit to try again with, when there are units and it
    /// is time.
    ///
    /// # Errors
    /// The error, if there is no use in trying again; or why there are no units for that.
    async fn again(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        permit: Permit,
        tries: &mut Option<Attempts<'_>>,
        error: Error,
    ) -> Result<Permit> {
        let began = Instant::now();
        let waited = permit.waited();
        let permit = if self.units.is_refusal(&error) {
            attempt.pause();
            *tries = None;
            permit
                .requeue_after_refusal(&error, &call.queue_position)
                .await
        } else if let Some((tries, wait)) = tries
            .as_mut()
            .and_then(|tries| tries.take_later().map(|wait| (tries, wait)))
        {
            attempt.pause();
            let permit = permit
                .pause(wait, error.may_go_on_upstream(), &call.queue_position)
                .await;
            tries.go_on(began.elapsed().saturating_sub(wait));
            permit
        } else {
            call.has_waited(waited);
            return Err(failed(permit, error));
        };
        permit.inspect_err(|_| _ = call.has_waited(waited + began.elapsed()))
    }

    fn route<R: Request>(&self, call: &Call, request: &Ready<R>) -> Route {
        let names = self.catalogue.names();
        let asked = &request.asked;
        let model = names.resolve(asked);
        let configured = || self.fallbacks.get(model).map(Vec::as_slice);
        let fallbacks = match call.fallbacks.as_deref().or_else(configured) {
            Some(fallbacks) if R::MAY_FALL_BACK => fallbacks,
            _ => &[],
        };
        let models = std::iter::once(model).chain(fallbacks.iter().map(|id| names.resolve(id)));
        let (circuits, catalogue) = (self.circuits.clone(), self.catalogue.clone());
        Route::new(
            circuits,
            catalogue,
            asked,
            models,
            call.deadline,
            self.fallback_first_token_timeout,
        )
    }
}

/// The next model's turn, and the request as that model shall see it.
async fn next<R>(route: &mut Route, request: &mut Ready<R>) -> Result<(Attempt, Bytes)> {
    let attempt = route.next().await?;
    let body = request.prepared.body_for(&attempt.model).await?;
    Ok((attempt, body))
}

/// What is asked besides the body.
fn ask<'a>(call: &'a Call, attempt: &'a Attempt, limits: RequestOptions<'a>) -> RequestOptions<'a> {
    let (model, attempts) = (Some(attempt.model.as_str()), Some(&call.facts.attempts));
    RequestOptions {
        deadline: call.deadline,
        model,
        first_token_max: attempt.first_token_max,
        attempts,
        ..limits
    }
}
