//! Authentication by bearer key: one extractor for each kind of endpoint.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use super::config::EmulatorConfig;
use super::refusal::{AccountRefusal, Refusal};
use super::state::Shared;

/// A key whose plan has no API access.
const KEY_WITHOUT_ACCESS: &str = "no-plan-access";

/// A caller with a valid key, at an endpoint under `/v1`.
pub struct Authenticated;

/// A caller with a valid key, at an endpoint under `/account`.
pub struct AuthenticatedAccount;

/// A caller with a valid key or without a key. An invalid key is refused.
pub struct OptionalAuth {
    pub is_authenticated: bool,
}

impl FromRequestParts<Shared> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, emulator: &Shared) -> Result<Self, Refusal> {
        match identify(&parts.headers, &emulator.config)? {
            OptionalAuth {
                is_authenticated: true,
            } => Ok(Self),
            OptionalAuth {
                is_authenticated: false,
            } => Err(Refusal::unauthorized()),
        }
    }
}

impl FromRequestParts<Shared> for AuthenticatedAccount {
    type Rejection = AccountRefusal;

    async fn from_request_parts(
        parts: &mut Parts,
        emulator: &Shared,
    ) -> Result<Self, AccountRefusal> {
        let authenticated = Authenticated::from_request_parts(parts, emulator).await;
        authenticated.map(|_| Self).map_err(AccountRefusal)
    }
}

impl FromRequestParts<Shared> for OptionalAuth {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, emulator: &Shared) -> Result<Self, Refusal> {
        identify(&parts.headers, &emulator.config)
    }
}

fn identify(headers: &HeaderMap, config: &EmulatorConfig) -> Result<OptionalAuth, Refusal> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return Ok(OptionalAuth {
            is_authenticated: false,
        });
    };
    let key = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .unwrap_or_default();
    let is_known = config.api_key.as_ref().is_none_or(|only| only == key);
    match key {
        KEY_WITHOUT_ACCESS => Err(Refusal::no_api_access()),
        "" => Err(Refusal::unauthorized()),
        _ if is_known => Ok(OptionalAuth {
            is_authenticated: true,
        }),
        _ => Err(Refusal::unauthorized()),
    }
}
