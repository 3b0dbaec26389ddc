//! Gateway keys: `Authorization: Bearer gw_…`, or the key alone in it or in a header that other
//! APIs have for it. HTTP headers and gRPC metadata are the same here.

use std::sync::Arc;

use axum::extract::Request;
use http::{HeaderMap, header, uri::Authority};
use secrecy::{ExposeSecret, SecretString};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::host::{self, is_this_machine};
use crate::{
    error::{Error, ErrorCode},
    service::{Caller, KeyId},
};

/// The keys that open the gateway, each with its share of the units. None: it is open to all.
#[derive(Clone)]
pub(super) struct Keys(Arc<[(SecretString, u32)]>);

impl Keys {
    pub(super) fn new(keys: &[SecretString], weights: &[u32]) -> Self {
        let weights = weights.iter().copied().chain(std::iter::repeat(1));
        Self(keys.iter().cloned().zip(weights).collect())
    }

    /// Whose key it is that these headers show. Takes the same time whichever key it is, and
    /// however much of it is right; its length is no secret. One known key is enough: some clients
    /// must send a key of their own making beside it. Of several known keys the first counts, in
    /// the order of [`shown`].
    fn open_to(&self, headers: &HeaderMap, host: Option<&str>) -> Result<Caller, Error> {
        if self.0.is_empty() {
            return open_to_host(host).map(|()| Caller::default());
        }
        let unauthenticated = |message: &str| Err(Error::new(ErrorCode::InvalidApiKey, message));
        let mut is_shown = false;
        for key in shown(headers) {
            is_shown = true;
            if let Some(caller) = self.find(key) {
                return Ok(caller);
            }
        }
        if is_shown {
            return unauthenticated(
                "This gateway key is not known here: it must be one of the gateway's \
                 FEATHERWIRE_API_KEYS, as Authorization: Bearer gw_…",
            );
        }
        unauthenticated(
            "No gateway key: send the header (or metadata) Authorization: Bearer gw_…; x-api-key \
             or api-key will do too",
        )
    }

    /// Whether these headers show a known key.
    pub(super) fn know(&self, headers: &HeaderMap) -> bool {
        shown(headers).any(|key| self.find(key).is_some())
    }

    fn find(&self, shown: &[u8]) -> Option<Caller> {
        let none = Caller {
            key: KeyId(u32::MAX),
            weight: 0,
        };
        let found = (0..)
            .zip(&*self.0)
            .fold(none, |found, (number, (key, weight))| {
                let is_it = key.expose_secret().as_bytes().ct_eq(shown);
                Caller {
                    key: KeyId(u32::conditional_select(&found.key.0, &number, is_it)),
                    weight: u32::conditional_select(&found.weight, weight, is_it),
                }
            });
        (found != none).then_some(found)
    }
}

/// Without keys, only callers on this machine are served, and a page whose name was made to point
/// here (DNS rebinding) is none of them: its own name is what it calls us by.
fn open_to_host(host: Option<&str>) -> Result<(), Error> {
    let is_here = |host: &str| {
        host.parse::<Authority>()
            .is_ok_and(|name| is_this_machine(name.host()))
    };
    if host.is_some_and(is_here) {
        return Ok(());
    }
    let message = "Without gateway keys, this gateway answers only to localhost: set \
                   FEATHERWIRE_API_KEYS to use another name";
    Err(Error::new(ErrorCode::UnknownHost, message))
}

/// The headers in which clients of Anthropic's and Azure's APIs show their key.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Every key that is shown, as the header `Authorization` or one of the [`KEY_HEADERS`].
fn shown(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let authorization = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| bearer(value.as_bytes()));
    let others = KEY_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(|value| value.as_bytes().trim_ascii());
    authorization.chain(others)
}

/// The key after `Bearer`, or a key alone. RFC 9110: the scheme's letter case doesn't matter.
fn bearer(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let is_scheme = |(scheme, rest): &(&[u8], &[u8])| {
        scheme.eq_ignore_ascii_case(b"Bearer") && rest.first().is_none_or(u8::is_ascii_whitespace)
    };
    value
        .split_at_checked("Bearer".len())
        .filter(is_scheme)
        .map_or(value, |(_, key)| key.trim_ascii())
}

/// Lets only callers with a key through, and tells whose it is.
pub(super) fn check(keys: &Keys, request: &mut Request) -> Result<(), Error> {
    let caller = keys.open_to(
        request.headers(),
        host::named(request.uri(), request.headers()),
    )?;
    request.extensions_mut().insert(caller);
    Ok(())
}
