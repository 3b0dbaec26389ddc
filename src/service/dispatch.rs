//! Sends requests to models: the one way by which chat, completions and embeddings reach the
//! upstream. It asks the requested model and then its fallbacks ([`route`](super::route)), each
//! when there are units for it and its circuit is closed.

use std::{marker::PhantomData, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::FutureExt;

use super::{
    accounts::{Accounts, Turn},
    attempt::{Sending, ask},
    call::Call,
    described::{described, reported},
    exchange::{Accumulate, Accumulated, Exchange, Streamed, Unary},
    fallbacks::Fallbacks,
    model_request::{ModelRequest, Size, TextTokens},
    prepared::{self, Prepared},
    queued,
    reply::Reply,
    report::Reported,
    reservation,
    route::Route,
    stream::{AnswerChunk, ResponseStream},
    trace_notes::trace_fallback,
    usage::TellsUsage,
};
use crate::{
    config,
    error::Result,
    upstream::{self, Catalogue, ModelNames, RequestOptions, StreamMessage, UnaryMessage},
};

/// The way to the upstream. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Dispatch {
    accounts: Accounts,
    catalogue: Catalogue,
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
    /// Sends requests to the upstreams of `accounts`. `catalogue` knows their models.
    pub fn new(accounts: Accounts, catalogue: Catalogue, config: &config::Models) -> Self {
        let fallbacks = Fallbacks::new(config, &catalogue.names());
        Self {
            accounts,
            catalogue,
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
        self.accounts.set_timeouts(&config.upstream);
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
        let mut route = self.route(call, &request)?;
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
                let sending = Sending {
                    path: R::PATH,
                    body: request.prepared.body_for(&candidate.model).await?,
                    options,
                };
                let mut turn = Turn::begin(&self.accounts, route.allowed, &candidate.model).await;
                let sent_before = call.stats.sent.number();
                let result = ask::<X>(call, &mut turn, &mut candidate, &sending).await;
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

    fn route<R: ModelRequest>(&self, call: &Call, request: &Ready<R>) -> Result<Route> {
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
        Ok(Route::new(
            self.accounts.clone(),
            self.accounts.allowed(&call.identity)?,
            self.catalogue.clone(),
            Arc::clone(requested),
            models,
            call.deadline,
            first_token_timeout,
        ))
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
