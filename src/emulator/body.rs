//! The body of a POST: a JSON object within the API's size limit.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::seeded_rng;
use super::state::Shared;

const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The number of bytes read from a body that is too large. An immediate answer would reset the
/// connection while the caller is still writing, and the caller would not see the answer.
const DRAIN_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

pub struct JsonBody {
    pub members: Map<String, Value>,
    /// A hash of the body. A retry of the same request has the same value.
    pub fingerprint: u64,
}

impl FromRequest<Shared> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::not_json());
        }
        let bytes = read(request.into_body()).await?;
        let members = serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::broken_json(&error.to_string()))?;
        Ok(Self {
            members,
            fingerprint: seeded_rng::fingerprint(&[&bytes]),
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    declared
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(mut body: Body) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    let mut read_bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::unread_body())?.into_data() else {
            continue;
        };
        read_bytes += data.len();
        if read_bytes <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if read_bytes > DRAIN_BYTES_MAX {
            break;
        }
    }
    if read_bytes > BODY_BYTES_MAX {
        return Err(Refusal::too_large(BODY_BYTES_MAX));
    }
    Ok(bytes.freeze())
}
