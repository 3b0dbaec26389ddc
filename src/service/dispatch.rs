//! Sends requests to models: the one way by which chat, completions and embeddings reach the
//! upstream. It asks the requested model and then its fallbacks ([`route`](super::route)), each
//! when there are units for it and its circuit is closed.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    call::Call,
    circuit::{self, Circuits},
    described::{described, reported},
    exchange::{Accumulate, Accumulated, Exchange, Streamed, Unary},
    fallbacks::Fallbacks,
    model_request::{ModelRequest, Size, TextTokens},
    prepared::{self, Prepared},
    queued,
    reply::Reply,
    report::Reported,
    reservation,
    route::{Candidate, Route},
    stream::{AnswerChunk, ResponseStream},
    trace_notes::{trace_fallback, trace_units},
    units::Units,
    usage::TellsUsage,
};
use crate::{
    admission::Permit,
    config,
    error::{Error, Result},
    telemetry::{CallTrace, TraceEvent},
    upstream::{
        self, Attempts, Catalogue, Client, ModelNames, RequestOptions, StreamMessage, UnaryMessage,
    },
};

/// The longest wait between two attempts of one request during which it keeps its units. Before a
/// longer wait it gives them back. Afterwards it waits for units, before all requests of its key,
/// class and cost that came later.
const WAIT_WITH_UNITS_MAX: Duration = Duration::from_millis(400);

/// The way to the upstream. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Dispatch {
    upstream: Client,
    catalogue: Catalogue,
    units: Units,
    circuits: Circuits,
    fallbacks: Arc<ArcSwap<Fallbacks>>,
}

/// A request that is validated and encoded.
#[derive(Debug)]
pub(super) struct Ready<R> {
    prepared: Prepared,
    /// The model's name in the caller's request.
    requested: Arc<str>,
    choices: usize,
    /// Whether the stream has a message with the usage for which the caller has not asked.
    hides_usage: bool,
    request: PhantomData<fn() -> R>,
}

impl Dispatch {
    /// Sends requests to `upstream`. `catalogue` knows its models, and `units` the account's units.
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
        let fallbacks = Fallbacks::new(config, &catalogue.names());
        Self {
            upstream,
            catalogue,
            units,
            circuits: Circuits::new(settings),
            fallbacks: Arc::new(ArcSwap::from_pointee(fallbacks)),
        }
    }

    /// Takes over the names, the fallbacks and the timeouts of `config`. Calls that run keep
    /// theirs.
    pub(super) fn change(&self, config: &config::Serve) {
        let names = ModelNames::new(&config.models);
        let fallbacks = Fallbacks::new(&config.models, &names);
        self.fallbacks.store(Arc::new(fallbacks));
        if !self.catalogue.names().is_same(&names) {
            self.catalogue.set_names(names);
        }
        self.upstream.set_timeouts(&config.upstream);
    }

    /// The circuits of all models.
    pub(super) fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// Validates a request by `check` and encodes it. `stream` is the value of the member `stream`;
    /// `None` for a request without that member.
    ///
    /// # Errors
    /// Those of `check`; [`Kind::Forbidden`](crate::error::Kind::Forbidden) for a model that the
    /// key may not use; [`Kind::Invalid`](crate::error::Kind::Invalid) for what only a gRPC caller
    /// can get wrong; [`Kind::Unavailable`](crate::error::Kind::Unavailable) if there is no room
    /// for the encoded bytes.
    pub(super) async fn prepare<R: ModelRequest>(
        &self,
        call: &Call,
        mut request: Box<R>,
        stream: Option<bool>,
        check: impl FnOnce(&mut R) -> Result<()> + Send + 'static,
    ) -> Result<Ready<R>> {
        let names = self.catalogue.names();
        let asked = call.note_asked(request.model(), &self.catalogue);
        call.check_ledger()?;
        let identity = call.identity.clone();
        let text = match identity.limits_tokens() {
            true => TextTokens::ByLetters,
            false => TextTokens::ByLength,
        };
        // Only then the request is what is sent: `check` settles it.
        let check = move |request: &mut R| {
            check(request)?;
            let (requested, model) = asked.unwrap_or_else(|| resolved(request.model(), &names));
            identity.check_model(&model, &requested)?;
            if model != requested {
                model.as_ref().clone_into(request.model());
            }
            let hides_usage = stream == Some(true) && request.ask_for_usage();
            let (choices, size) = (request.choices(), Size::of(request, text));
            Ok((requested, model, choices, hides_usage, size))
        };
        let (request, (requested, model, choices, hides_usage, size)) =
            prepared::validate(call, request, check).await?;
        call.stats.record_prompt_estimate(size.prompt_tokens);
        let max_tokens = reservation::reserve(call, &self.catalogue, &model, size).await?;
        let cut = move |request: &mut R| {
            if let Some(tokens) = max_tokens {
                request.set_max_tokens(i32::try_from(tokens).unwrap_or(i32::MAX));
            }
        };
        let prepared = request.encode(model, stream, cut).await?;
        Ok(Ready {
            prepared,
            requested,
            choices,
            hides_usage,
            request: PhantomData,
        })
    }

    /// Gets a complete answer.
    ///
    /// # Errors
    /// The meaning of the upstream's reply; that of the requested model if all fallbacks fail too.
    pub(super) async fn unary<R: ModelRequest, M: UnaryMessage + Reported + TellsUsage + Send>(
        &self,
        call: &Call,
        request: Ready<R>,
    ) -> Result<Reply<M>> {
        let (reply, route) = self.answer::<R, Unary<M>>(call, request, None).await?;
        Ok(reported(call, route, reply))
    }

    /// Gets a complete answer from a stream of at most `bytes_max` bytes, which `A` accumulates.
    ///
    /// # Errors
    /// As [`unary`](Self::unary).
    pub(super) async fn accumulated<R, M, A>(
        &self,
        call: &Call,
        request: Ready<R>,
        bytes_max: usize,
    ) -> Result<Reply<A::Answer>>
    where
        R: ModelRequest,
        M: StreamMessage + TellsUsage + Send,
        A: Accumulate<M>,
        A::Answer: Reported + TellsUsage,
    {
        let (reply, route) = self
            .answer::<R, Accumulated<M, A>>(call, request, Some(bytes_max))
            .await?;
        Ok(reported(call, route, reply))
    }

    /// Starts a streamed answer: waits for its first content. A failure before that has not reached
    /// the caller, so another model may be asked. The stream tells its end to the call and to the
    /// model's circuit.
    ///
    /// # Errors
    /// As [`unary`](Self::unary), until the answer has started.
    pub(super) async fn stream<R: ModelRequest, M: AnswerChunk + Send + 'static>(
        &self,
        mut call: Call,
        request: Ready<R>,
    ) -> Result<Reply<ResponseStream<M>>> {
        // In memory of its own: it is rare.
        if std::mem::take(&mut call.wants_queue) {
            return Box::pin(self.queued(call, request)).await;
        }
        let (requested, hides_usage) = (Arc::clone(&request.requested), request.hides_usage);
        let (reply, route) = call
            .run_part(self.answer::<R, Streamed<M>>(&call, request, None))
            .await
            .map_err(|error| error.with_model(&requested))?;
        let (reply, report) = described(&call, route, reply);
        Ok(reply.map(|started| ResponseStream::new(started, call, requested, hides_usage, report)))
    }

    /// Starts a streamed answer that tells how it waits for units.
    async fn queued<R: ModelRequest, M: AnswerChunk + Send + 'static>(
        &self,
        mut call: Call,
        request: Ready<R>,
    ) -> Result<Reply<ResponseStream<M>>> {
        let (position, requested) = (call.queue_position.watch(), Arc::clone(&request.requested));
        queued::reply(self.starting(call, request), position, requested).await
    }

    fn starting<R: ModelRequest, M: AnswerChunk + Send + 'static>(
        &self,
        call: Call,
        request: Ready<R>,
    ) -> queued::Starting<M> {
        let dispatch = self.clone();
        async move { dispatch.stream(call, request).await }.boxed()
    }

    /// Asks the requested model, then its fallbacks, until one answers.
    async fn answer<R: ModelRequest, X: Exchange>(
        &self,
        call: &Call,
        mut request: Ready<R>,
        bytes_max: Option<usize>,
    ) -> Result<(upstream::Reply<X::Answer>, Route)> {
        let mut route = self.route(call, &request);
        let options = RequestOptions {
            deadline: call.deadline,
            choices: request.choices,
            bytes_max,
            sent: Some(&call.stats.sent),
            ..RequestOptions::default()
        };
        call.trace(|trace| trace.set_streamed(X::IS_STREAM));
        let asking = async {
            loop {
                let mut candidate = route.next().await?;
                trace_fallback(call, &route, &candidate.model);
                let body = request.prepared.body_for(&candidate.model).await?;
                let sent_before = call.stats.sent.number();
                let result = self
                    .ask::<X>(call, &mut candidate, R::PATH, body, options)
                    .await;
                call.stats.add_sent(call.stats.sent.number() - sent_before);
                if let Some(reply) = route.take_result(candidate, result).await? {
                    return Ok(reply);
                }
                call.stats.add_fallback();
            }
        };
        let reply: Result<_> = asking.await;
        match reply {
            Ok(reply) => Ok((reply, route)),
            Err(error) => Err(error.with_model(&request.requested)),
        }
    }

    /// Asks one model, as soon as there are units for it. Sends the request again after a failure
    /// that another attempt may cure: after a short wait the client does that itself; before a long
    /// one it returns the error with the wait ([`Attempts::take_later`]), and the units are given
    /// back until then.
    async fn ask<X: Exchange>(
        &self,
        call: &Call,
        candidate: &mut Candidate,
        path: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<upstream::Reply<X::Answer>> {
        let model = Arc::clone(&candidate.model);
        let mut permit = self.units.acquire(call, &model).await?;
        trace_units(call, &permit, permit.waited());
        let mut attempts = None;
        loop {
            let is_circuit_probe = match candidate.start(X::SILENCE_MIN) {
                Ok(is_probe) => is_probe,
                Err(error) => return Err(release_unsent(call, permit, error)),
            };
            let options = RequestOptions {
                model: Some(&model),
                first_token_max: candidate.first_token_max,
                no_retries: is_circuit_probe,
                ..options
            };
            let attempts_now = attempts
                .get_or_insert_with(|| self.upstream.attempts(options, WAIT_WITH_UNITS_MAX));
            call.hold_units(permit.units());
            let sent = X::send(&self.upstream, attempts_now, path, body.clone(), options).await;
            match sent {
                Ok(reply) => {
                    permit.mark_admitted();
                    candidate.mark_answering();
                    call.stats.record_answer();
                    call.trace(CallTrace::begin_answer);
                    if X::IS_STREAM {
                        call.stats.record_first_token(call.arrived_at.elapsed());
                    }
                    call.stats.add_wait(permit.waited());
                    let upstream::Reply { request_id, answer } = reply;
                    call.note_answer(&model, request_id.as_ref());
                    let answer = X::complete(answer, permit, candidate, &call.stats).await;
                    if let Err(error) = &answer {
                        call.release_units();
                        call.trace(|trace| trace.fail_attempt(error));
                    }
                    return answer.map(|answer| upstream::Reply { request_id, answer });
                }
                Err(error) => {
                    call.release_units();
                    call.stats.sent.record_error(&error);
                    permit = self
                        .retry(call, candidate, permit, &mut attempts, error)
                        .await?;
                }
            }
        }
    }

    /// Waits for the next attempt after `error`. Returns the permit for it.
    ///
    /// # Errors
    /// `error` if another attempt is of no use; or the reason why there are no units for it.
    async fn retry(
        &self,
        call: &Call,
        candidate: &mut Candidate,
        permit: Permit,
        attempts: &mut Option<Attempts<'_>>,
        error: Error,
    ) -> Result<Permit> {
        let began = Instant::now();
        let waited = permit.waited();
        call.stats.begin_wait(call.arrived_at.elapsed());
        let permit = if self.units.is_refusal(&error) {
            call.stats.add_refusal();
            call.trace(|trace| trace.add_event(|| TraceEvent::UpstreamRefusal));
            candidate.pause();
            *attempts = None;
            permit
                .requeue_after_refusal(&error, &call.queue_position)
                .await
        } else if let Some((attempts, wait)) = attempts
            .as_mut()
            .and_then(|attempts| attempts.take_later().map(|wait| (attempts, wait)))
        {
            candidate.pause();
            let permit = permit
                .pause(wait, error.may_go_on_upstream(), &call.queue_position)
                .await;
            attempts.go_on(began.elapsed().saturating_sub(wait));
            permit
        } else {
            call.stats.add_wait(waited);
            permit.fail(&error);
            return Err(error);
        };
        match &permit {
            Ok(permit) => {
                call.stats.end_wait(permit.waited());
                trace_units(call, permit, began.elapsed());
            }
            Err(_) => _ = call.stats.add_wait(waited + began.elapsed()),
        }
        permit
    }

    fn route<R: ModelRequest>(&self, call: &Call, request: &Ready<R>) -> Route {
        let names = self.catalogue.names();
        let requested = &request.requested;
        let model = names.resolve(requested);
        let fallbacks = self.fallbacks.load();
        let first_token_timeout = fallbacks.first_token_timeout;
        let configured = || fallbacks.by_model.get(model).map(Vec::as_slice);
        let fallbacks = match call.fallbacks.as_deref().or_else(configured) {
            Some(fallbacks) if R::MAY_FALL_BACK => fallbacks,
            _ => &[],
        };
        // A fallback must not be a way around the limits of the key.
        let fallbacks = fallbacks
            .iter()
            .map(|id| (names.resolve(id), id))
            .filter(|(model, id)| call.identity.may_use(model) || call.identity.may_use(id))
            .map(|(model, _)| model.into());
        let models = std::iter::once(shared(model, requested)).chain(fallbacks);
        let (circuits, catalogue) = (self.circuits.clone(), self.catalogue.clone());
        Route::new(
            circuits,
            catalogue,
            Arc::clone(requested),
            models,
            call.deadline,
            first_token_timeout,
        )
    }
}

/// A model's name in a request, and its name upstream.
pub(super) fn resolved(requested: &str, names: &ModelNames) -> (Arc<str>, Arc<str>) {
    let requested: Arc<str> = requested.into();
    let model = shared(names.resolve(&requested), &requested);
    (requested, model)
}

/// `model` as a shared name: `known`, if that is the same.
fn shared(model: &str, known: &Arc<str>) -> Arc<str> {
    if model == &**known {
        Arc::clone(known)
    } else {
        model.into()
    }
}

/// Gives back the permit of a request that was not sent, as if it had left the queue.
fn release_unsent(call: &Call, permit: Permit, error: Error) -> Error {
    call.stats.add_wait(permit.waited());
    permit.cancel_unsent();
    error
}
