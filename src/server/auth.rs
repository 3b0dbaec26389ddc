//! Authentication by gateway keys: `Authorization: Bearer gw_…`, or only the key in this header or
//! in a header that clients of other APIs use. HTTP headers and gRPC metadata are the same here. A
//! caller who sends no key may have shown a certificate that stands for one.

use std::time::Instant;

use http::{HeaderMap, HeaderName, Request, header, uri::Authority};
use tokio::time::Instant as TokioInstant;

use super::{
    cors::is_local_origin,
    host::{self, is_this_machine},
    peer::Peer,
    tls::{ClientCertificate, Distrust, IsForAdministrators},
};
use crate::{
    error::{Error, ErrorCode},
    keys::{Directory, Ended, Identity, NotNamed, Purpose, Role},
    service::Arrival,
};

/// The caller, identified by the keys in `headers`. The length of a key is not secret, but the time
/// of the check does not depend on anything else of it. One known key is enough, because some
/// clients also send a key of their own. Of several known keys, the first one in the order of
/// [`shown_keys`] counts. The `certificate` of the connection counts only for a request without any
/// key.
///
/// # Errors
/// [`Kind::Unauthenticated`](crate::error::Kind::Unauthenticated) if there is no known key;
/// [`Kind::Forbidden`](crate::error::Kind::Forbidden) if the call needs no key and the request
/// names another host than this machine, or comes from a web page that may not call so.
fn authenticate(
    keys: &Directory,
    headers: &HeaderMap,
    host: Option<&str>,
    certificate: Option<&ClientCertificate>,
    purpose: Purpose,
) -> Result<Identity, Error> {
    let everyone = keys.everyone(purpose);
    if let Some(everyone) = &everyone
        && keys.is_open()
    {
        check_host(host)?;
        check_origin(headers, purpose)?;
        return Ok(everyone.clone());
    }
    let unauthenticated = |message: &str| Err(Error::new(ErrorCode::InvalidApiKey, message));
    let (mut is_shown, mut ended) = (false, None);
    for key in shown_keys(headers) {
        is_shown = true;
        match keys.find(key) {
            Ok(Some(identity)) => return Ok(identity),
            Ok(None) => {}
            Err(reason) => ended = Some(reason),
        }
    }
    if let Some(certificate) = certificate
        && let Some(key) = certificate.key(purpose)
        && !is_shown
    {
        return by_certificate(keys, headers, certificate, key);
    }
    // Nobody has an admin key yet. A key for models does not manage anything.
    if let Some(everyone) = everyone
        && !is_shown
    {
        check_host(host)?;
        check_origin(headers, purpose)?;
        return Ok(everyone);
    }
    if let Some(ended) = ended {
        return unauthenticated(why_ended(ended));
    }
    if is_shown {
        return unauthenticated(
            "Unknown gateway key: send one of the gateway's keys as Authorization: Bearer gw_…",
        );
    }
    unauthenticated(match certificate {
        None => {
            "No gateway key: send the header (or metadata) Authorization: Bearer gw_…; x-api-key \
             and api-key are accepted too"
        }
        Some(_) => {
            "No gateway key, and the certificate of this connection stands for none: send the \
             header (or metadata) Authorization: Bearer gw_…; x-api-key and api-key are accepted \
             too"
        }
    })
}

/// The key that a certificate stands for.
fn by_certificate(
    keys: &Directory,
    headers: &HeaderMap,
    certificate: &ClientCertificate,
    key: (&str, IsForAdministrators),
) -> Result<Identity, Error> {
    let refuse = |message: &str| Err(Error::new(ErrorCode::InvalidApiKey, message));
    // A browser shows the certificate of its user for every page.
    if headers.contains_key(header::ORIGIN) {
        return refuse(
            "A web page needs a gateway key, also if the browser has a certificate: send the \
             header Authorization: Bearer gw_…",
        );
    }
    match certificate.check() {
        Ok(()) => {}
        Err(Distrust::Expired) => {
            return refuse(
                "The certificate of this connection has expired: connect again with a newer one",
            );
        }
        Err(Distrust::Authority) => {
            return refuse(
                "The gateway no longer trusts the authority of this connection's certificate: \
                 connect again with a certificate of another one",
            );
        }
    }
    match named(keys, key) {
        Ok(identity) => Ok(identity),
        Err(NotNamed::Unknown) => refuse(
            "The gateway has no key with the name that this certificate stands for: ask the \
             gateway's owner",
        ),
        Err(NotNamed::Ambiguous) => refuse(
            "The gateway has several keys with the name that this certificate stands for: ask the \
             gateway's owner to rename the others",
        ),
        Err(NotNamed::Ended(ended)) => refuse(why_ended(ended)),
    }
}

fn named(
    keys: &Directory,
    (name, IsForAdministrators(is_for_administrators)): (&str, IsForAdministrators),
) -> Result<Identity, NotNamed> {
    keys.find_named(name, |role| {
        (role == Role::Inference) != is_for_administrators
    })
}

fn why_ended(ended: Ended) -> &'static str {
    match ended {
        Ended::Expired => "This gateway key has expired: ask the gateway's owner for another",
        Ended::Rotated => "This gateway key was replaced: use the new secret of the same key",
        Ended::Revoked => "This gateway key was revoked: ask the gateway's owner for another",
        Ended::Disabled => "This gateway key is disabled: ask the gateway's owner to enable it",
    }
}

/// Whether a request has a known key, in its `headers` or by the certificate of its connection.
pub(super) fn is_known(keys: &Directory, headers: &HeaderMap) -> bool {
    let mut shown = shown_keys(headers).peekable();
    if shown.peek().is_some() {
        return shown.any(|key| keys.accepts(key));
    }
    let is_named = |purpose| {
        let peer = Peer::current()?;
        let certificate = peer.certificate()?;
        let key = certificate.key(purpose)?;
        certificate.check().ok()?;
        named(keys, key).ok()
    };
    let purposes = [Purpose::Models, Purpose::Admin];
    purposes
        .into_iter()
        .any(|purpose| is_named(purpose).is_some())
}

/// Without keys, only requests to a host name of this machine are accepted. This refuses a web page
/// whose name resolves to this machine (DNS rebinding), because its requests have another host.
fn check_host(host: Option<&str>) -> Result<(), Error> {
    let is_here = |host: &str| {
        host.parse::<Authority>()
            .is_ok_and(|name| is_this_machine(name.host()))
    };
    if host.is_some_and(is_here) {
        return Ok(());
    }
    let message = "A call without a gateway key must be to localhost: to use another host, create \
                   a key with `featherwire keys create` or set FEATHERWIRE_API_KEYS";
    Err(Error::new(ErrorCode::UnknownHost, message))
}

/// Without an admin key, only web pages of this machine may manage keys, whatever `--cors-origins`
/// says: that option lets pages ask models.
fn check_origin(headers: &HeaderMap, purpose: Purpose) -> Result<(), Error> {
    let is_local = || headers.get_all(header::ORIGIN).iter().all(is_local_origin);
    if purpose != Purpose::Admin || is_local() {
        return Ok(());
    }
    let message = "A web page of another host manages keys only with an admin key: create one \
                   (role KEY_ROLE_ADMIN), and send it as Authorization: Bearer gw_admin_…";
    Err(Error::new(ErrorCode::UnknownHost, message))
}

/// The headers in which clients of the Anthropic and Azure APIs send their key.
const KEY_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Every key in the headers: in `Authorization` or in one of the [`KEY_HEADERS`].
fn shown_keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let authorization = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| bearer(value.as_bytes()));
    let others = KEY_HEADERS
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .map(|value| value.as_bytes().trim_ascii());
    authorization.chain(others)
}

/// The key after `Bearer`, or the complete value. The case of the scheme is ignored (RFC 9110).
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

/// Passes authenticated callers, and adds the [`Identity`] to the request.
///
/// # Errors
/// See [`authenticate`] and [`Identity::begin`].
pub(super) async fn check<B>(
    keys: &Directory,
    purpose: Purpose,
    request: &mut Request<B>,
) -> Result<(), Error> {
    let peer = Peer::current();
    let identity = authenticate(
        keys,
        request.headers(),
        host::named(request.uri(), request.headers()),
        peer.as_ref().and_then(|peer| peer.certificate()),
        purpose,
    )?;
    identity.record_use();
    let arrived_at = request
        .extensions()
        .get::<Arrival>()
        .map(|arrival| arrival.at);
    let now = arrived_at.map_or_else(Instant::now, TokioInstant::into_std);
    let rate = identity
        .begin(purpose, now)
        .await
        .map_err(|error| match purpose {
            Purpose::Admin => error.with_advice(keys.how_to_manage()),
            Purpose::Models | Purpose::Own => error,
        })?;
    request.extensions_mut().insert(identity);
    if let Some(rate) = rate {
        request.extensions_mut().insert(rate);
    }
    Ok(())
}
