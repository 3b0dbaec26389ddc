//! Asking for an answer: the one way by which chat, completions and embeddings reach the upstream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use serde::Serialize;
use tonic::Response;

use super::{
    Answers, Call, Units,
    circuit::{self, Circuits},
    encode,
    route::{Attempt, Route},
};
use crate::{
    admission::Permit,
    config,
    error::{Error, Kind, Result},
    upstream::{Ask, Catalogue, Chunk, Client, Events, Reply, Whole},
};

/// The name under which the upstream's `request-id` goes to callers, at both doors.
pub const UPSTREAM_REQUEST_ID: &str = "x-featherless-request-id";

/// The header, and metadata key, with how long the call waited for concurrency units, in milliseconds.
pub const WAITED: &str = "x-featherwire-waited-ms";

/// An answer, and what goes beside it: headers at one door, metadata at the other.
#[derive(Debug)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// What the caller may want to know of how it came about.
    pub headers: HeaderMap,
}

impl<T> Answered<T> {
    /// The same with its answer made into something else.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Answered<U> {
        Answered { answer: make(self.answer), headers: self.headers }
    }

    /// The same after this wait for units.
    fn after(mut self, waited_ms: u64) -> Self {
        self.headers.insert(WAITED, waited_ms.into());
        self
    }

    /// As tonic wants it.
    pub(super) fn into_response(self) -> Response<T> {
        let mut response = Response::new(self.answer);
        *response.metadata_mut() = tonic::metadata::MetadataMap::from_headers(self.headers);
        response
    }
}

impl<T> From<Reply<T>> for Answered<T> {
    fn from(reply: Reply<T>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(id) = reply.request_id {
            headers.insert(UPSTREAM_REQUEST_ID, id);
        }
        Self { answer: reply.answer, headers }
    }
}

/// How many pieces of a stream may come before anything of the answer is in them: who speaks, mostly. With more, the answer
/// counts as begun.
const EARLY_PIECES_MAX: usize = 8;

/// A streamed answer that has begun.
#[derive(Debug)]
pub(super) struct Begun<M> {
    /// The pieces up to the one that showed it.
    pub(super) first: VecDeque<M>,
    pub(super) events: Events<M>,
    pub(super) permit: Permit,
}

/// Gives the units of a request that failed back: at once if upstream refused it. What we gave up on, or was cut, may go on
/// upstream until it notices that the connection was closed.
pub(super) fn failed(permit: Permit, error: Error) -> Error {
    let may_go_on = match error.kind() {
        Kind::Timeout | Kind::Upstream | Kind::Internal => true,
        Kind::Unavailable => error.code() == "draining",
        _ => false,
    };
    if !may_go_on {
        permit.end();
    }
    error
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
}

/// A request that models answer, as the upstream shall see it.
pub trait Request: Serialize + Send {
    /// Its path below the upstream's base URL.
    const PATH: &'static [&'static str];

    /// Whether another model may answer instead. Texts of two models say the same thing; vectors of two models don't.
    const MAY_FALL_BACK: bool;

    /// The model that is asked for.
    fn model(&mut self) -> &mut String;

    /// How many choices the answer shall have.
    fn choices(&self) -> usize;
}

impl Dispatch {
    /// The way to this upstream; the catalogue knows what its models are like.
    pub fn new(upstream: Client, catalogue: Catalogue, units: Units, config: &config::Models) -> Self {
        let settings = circuit::Settings { failures: config.circuit_failures, wait: config.circuit_wait };
        let fallbacks = config.fallbacks.iter().map(|own| (own.model.clone(), own.others.clone())).collect();
        Self { upstream, catalogue, units, circuits: Circuits::new(settings), fallbacks: Arc::new(fallbacks) }
    }

    /// Asks for a whole answer.
    ///
    /// # Errors
    /// What the upstream's reply means: for the model asked for, when its fallbacks fail too.
    pub async fn whole<R: Request, M: Whole>(&self, call: &Call, mut request: R) -> Result<Answered<M>> {
        let mut route = self.route(call, &mut request);
        loop {
            let mut attempt = route.next().await?;
            request.model().clone_from(&attempt.model);
            match self.ask_whole::<R, M>(call, &mut attempt, encode(&request)?.into()).await {
                Ok(mut answered) => {
                    route.succeeded(attempt, &mut answered.headers);
                    return Ok(answered);
                }
                Err(error) => route.failed(attempt, error).await?,
            }
        }
    }

    /// Asks one model for a whole answer, as soon as there are units.
    async fn ask_whole<R: Request, M: Whole>(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        body: Bytes,
    ) -> Result<Answered<M>> {
        let mut permit = self.units.acquire(call, &attempt.model).await?;
        attempt.begin()?;
        let ask = Ask { deadline: call.deadline, model: Some(&attempt.model), ..Ask::default() };
        loop {
            match self.upstream.post(R::PATH, body.clone(), ask).await {
                Ok(reply) => {
                    permit.answered();
                    let answered = Answered::from(reply).after(call.has_waited(permit.waited()));
                    permit.end();
                    return Ok(answered);
                }
                Err(error) if self.units.is_refusal(&error) => {
                    permit = permit.wait_again(&error, &call.queue_place).await?;
                }
                Err(error) => {
                    call.has_waited(permit.waited());
                    return Err(failed(permit, error));
                }
            }
        }
    }

    /// Asks for a streamed answer, and waits for its first piece: what fails before that has not begun, and may be asked
    /// of another model. The answer's end is told to the call. It may have so many bytes, if that is limited.
    ///
    /// # Errors
    /// What the upstream's reply means: for the model asked for, when its fallbacks fail too.
    pub async fn stream<R: Request, M: Chunk>(
        &self,
        call: Call,
        request: R,
        bytes_max: Option<usize>,
    ) -> Result<Answered<Answers<M>>> {
        let begun = call.begin(self.begin(&call, request, bytes_max)).await?;
        Ok(begun.map(|begun| Answers::new(begun, call)))
    }

    async fn begin<R: Request, M: Chunk>(
        &self,
        call: &Call,
        mut request: R,
        bytes_max: Option<usize>,
    ) -> Result<Answered<Begun<M>>> {
        let mut route = self.route(call, &mut request);
        let limits = Ask { choices: request.choices(), bytes_max, ..Ask::default() };
        loop {
            let mut attempt = route.next().await?;
            request.model().clone_from(&attempt.model);
            match self.ask_stream::<R, M>(call, &mut attempt, encode(&request)?.into(), limits).await {
                Ok(mut answered) => {
                    route.succeeded(attempt, &mut answered.headers);
                    return Ok(answered);
                }
                Err(error) => route.failed(attempt, error).await?,
            }
        }
    }

    /// Asks one model for a streamed answer, as soon as there are units, and waits for its first piece that has something of
    /// the answer in it.
    async fn ask_stream<R: Request, M: Chunk>(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        body: Bytes,
        limits: Ask<'_>,
    ) -> Result<Answered<Begun<M>>> {
        let mut permit = self.units.acquire(call, &attempt.model).await?;
        attempt.begin()?;
        let ask = Ask { deadline: call.deadline, model: Some(&attempt.model), ..limits };
        loop {
            let begun = async {
                let Reply { request_id, answer: mut events } = self.upstream.stream(R::PATH, body.clone(), ask).await?;
                let mut first = VecDeque::with_capacity(1);
                while let Some(piece) = events.next().await.transpose()? {
                    let has_begun = M::has_begun(&piece);
                    first.push_back(piece);
                    if has_begun || first.len() == EARLY_PIECES_MAX {
                        break;
                    }
                }
                Ok(Reply { request_id, answer: (first, events) })
            };
            match begun.await {
                Ok(reply) => {
                    permit.answered();
                    let waited_ms = call.has_waited(permit.waited());
                    let begun = reply.map(|(first, events)| Begun { first, events, permit });
                    return Ok(Answered::from(begun).after(waited_ms));
                }
                Err(error) if self.units.is_refusal(&error) => {
                    permit = permit.wait_again(&error, &call.queue_place).await?;
                }
                Err(error) => {
                    call.has_waited(permit.waited());
                    return Err(failed(permit, error));
                }
            }
        }
    }

    fn route<R: Request>(&self, call: &Call, request: &mut R) -> Route {
        let model = request.model();
        let configured = || self.fallbacks.get(model.as_str()).map(Vec::as_slice);
        let fallbacks = match call.fallbacks.as_deref().or_else(configured) {
            Some(fallbacks) if R::MAY_FALL_BACK => fallbacks,
            _ => &[],
        };
        Route::new(self.circuits.clone(), self.catalogue.clone(), model, fallbacks)
    }
}
