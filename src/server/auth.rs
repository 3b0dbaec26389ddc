//! Gateway keys: `Authorization: Bearer gw_…`, the same for HTTP headers and gRPC metadata.

use std::{net::IpAddr, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, header, uri::Authority};
use secrecy::{ExposeSecret, SecretString};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tower::{Layer, Service, layer::layer_fn};

use super::grpc;
use crate::{
    admission::{Caller, KeyId},
    error::{Error, Kind},
};

/// The keys that open the gateway, each with its share of the units. None: it is open to all.
#[derive(Clone)]
pub(super) struct Keys(Arc<[(SecretString, u32)]>);

/// How to word a refusal.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    Grpc,
    Rest,
}

impl Keys {
    pub(super) fn new(keys: &[SecretString], weights: &[u32]) -> Self {
        let weights = weights.iter().copied().chain(std::iter::repeat(1));
        Self(keys.iter().cloned().zip(weights).collect())
    }

    /// Whose key it is that these headers show. Takes the same time whichever key it is, and however much of it is right;
    /// its length is no secret.
    fn open_to(&self, headers: &HeaderMap, host: Option<&str>) -> Result<Caller, Error> {
        if self.0.is_empty() {
            return open_to_host(host).map(|()| Caller::default());
        }
        let unauthenticated = |message: &str| Err(Error::new(Kind::Unauthenticated, "invalid_api_key", message));
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return unauthenticated("No gateway key: send the header (or metadata) Authorization: Bearer gw_…");
        };
        let Some(shown) = bearer(value.as_bytes()) else {
            return unauthenticated("The Authorization header is not of the form: Bearer gw_…");
        };
        let none = Caller { key: KeyId(u32::MAX), weight: 0 };
        let found = (0..).zip(&*self.0).fold(none, |found, (number, (key, weight))| {
            let is_it = key.expose_secret().as_bytes().ct_eq(shown);
            Caller {
                key: KeyId(u32::conditional_select(&found.key.0, &number, is_it)),
                weight: u32::conditional_select(&found.weight, weight, is_it),
            }
        });
        if found != none {
            return Ok(found);
        }
        unauthenticated("This gateway key is not known here: it must be one of the gateway's FEATHERWIRE_API_KEYS")
    }
}

/// Without keys, only callers on this machine are served, and a page whose name was made to point here (DNS
/// rebinding) is none of them: its own name is what it calls us by.
fn open_to_host(host: Option<&str>) -> Result<(), Error> {
    let is_here = |host: &str| host.parse::<Authority>().is_ok_and(|name| is_this_machine(name.host()));
    if host.is_some_and(is_here) {
        return Ok(());
    }
    let message =
        "Without gateway keys, this gateway answers only to localhost: set FEATHERWIRE_API_KEYS to use another name";
    Err(Error::new(Kind::Forbidden, "unknown_host", message))
}

/// Whether a host's name is one for this machine itself.
pub(super) fn is_this_machine(host: &str) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(is_loopback)
}

/// RFC 9110: the scheme's letter case doesn't matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Lets only callers with a key through.
pub(super) fn layer<S>(keys: &Keys, dialect: Dialect) -> impl Layer<S, Service = Auth<S>> + Clone + use<S> {
    let keys = keys.clone();
    layer_fn(move |inner| Auth { inner, keys: keys.clone(), dialect })
}

#[derive(Clone)]
pub(super) struct Auth<S> {
    inner: S,
    keys: Keys,
    dialect: Dialect,
}

impl<S> Service<Request> for Auth<S>
where
    S: Service<Request, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = request.uri().authority().map(Authority::as_str).or(host);
        match self.keys.open_to(request.headers(), host) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(ready(Ok(match self.dialect {
                Dialect::Grpc => grpc::respond(error.into(), request.headers()),
                Dialect::Rest => error.into_response(),
            }))),
        }
    }
}
