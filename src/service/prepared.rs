//! A request as it is sent upstream: validated, and encoded once. The message is dropped then, so a
//! request that waits holds only its body.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{call::Call, inflight_bytes::HeldBytes, validate};
use crate::{
    error::{Error, Result},
    json, offload,
};

/// The start of every request body: the model is its first member.
const BODY_START: &[u8] = br#"{"model":"#;

/// The body, and the model that it names.
#[derive(Debug)]
pub(super) struct Prepared {
    model: Arc<str>,
    body: Bytes,
    held: Option<Arc<HeldBytes>>,
}

/// Bytes that stay counted until the last clone is dropped.
struct Counted {
    bytes: Vec<u8>,
    #[allow(dead_code, reason = "held")]
    held: Option<Arc<HeldBytes>>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request that is valid, and not encoded yet.
#[derive(Debug)]
pub(super) struct Validated<R> {
    request: Box<R>,
    arrived: usize,
    held: Option<HeldBytes>,
}

/// Validates a request by `check`, which also returns what the caller of this function needs.
///
/// # Errors
/// Those of `check`.
pub(super) async fn validate<R, T>(
    call: &Call,
    mut request: Box<R>,
    check: impl FnOnce(&mut R) -> Result<T> + Send + 'static,
) -> Result<(Validated<R>, T)>
where
    R: Send + 'static,
    T: Send + 'static,
{
    let held = call.hold_body();
    let arrived = held.as_ref().map_or(0, HeldBytes::bytes);
    offload::run(arrived, move || {
        let checked = check(&mut request)?;
        let validated = Validated {
            request,
            arrived,
            held,
        };
        Ok((validated, checked))
    })
    .await?
}

impl<R: Serialize + DeserializeOwned + Send + 'static> Validated<R> {
    /// Encodes the request for `model`, which it names, after a last `change`. `stream` is the
    /// value of the member `stream`; `None` leaves the member out.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for what only a gRPC caller can get wrong;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the body is larger than what
    /// arrived, and the bytes of all requests have reached their limit.
    pub(super) async fn encode(
        self,
        model: Arc<str>,
        stream: Option<bool>,
        change: impl FnOnce(&mut R) + Send + 'static,
    ) -> Result<Prepared> {
        let Self {
            mut request,
            arrived,
            held,
        } = self;
        offload::run(arrived, move || {
            change(&mut request);
            let mut bytes =
                json::encode_request_of(&*request, arrived).map_err(validate::invalid_json)?;
            if let Some(stream) = stream {
                append_stream(&mut bytes, stream);
            }
            drop(request);
            let held = held
                .map(|mut held| held.resize(bytes.len()).map(|()| Arc::new(held)))
                .transpose()?;
            let body = Bytes::from_owner(Counted {
                bytes,
                held: held.clone(),
            });
            Ok(Prepared { model, body, held })
        })
        .await?
    }
}

impl Prepared {
    /// The body for `model`. Only the last one is kept.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) if the body does not begin with its model:
    /// a bug.
    pub(super) async fn body_for(&mut self, model: &Arc<str>) -> Result<Bytes> {
        if *model != self.model {
            let (before, new) = (Arc::clone(&self.model), Arc::clone(model));
            let (body, held) = (std::mem::take(&mut self.body), self.held.clone());
            self.body =
                offload::run(body.len(), move || with_model(&body, &before, &new, held)).await??;
            self.model = Arc::clone(model);
        }
        Ok(self.body.clone())
    }

    /// The body for the model that it names.
    pub(super) fn into_body(self) -> Bytes {
        self.body
    }
}

/// The same body with another model.
fn with_model(
    body: &[u8],
    before: &str,
    model: &str,
    held: Option<Arc<HeldBytes>>,
) -> Result<Bytes> {
    let rest = body
        .strip_prefix(BODY_START)
        .and_then(|body| body.strip_prefix(quoted(before)?.as_slice()));
    let (Some(rest), Some(model)) = (rest, quoted(model)) else {
        return Err(Error::internal("a request does not begin with its model"));
    };
    Ok(Bytes::from_owner(Counted {
        bytes: [BODY_START, &model, rest].concat(),
        held,
    }))
}

/// Appends the member `stream` to the JSON object `body`, which has other members.
fn append_stream(body: &mut Vec<u8>, stream: bool) {
    body.pop_if(|last| *last == b'}');
    let member: &[u8] = if stream {
        br#","stream":true}"#
    } else {
        br#","stream":false}"#
    };
    body.extend_from_slice(member);
}

/// A string as JSON.
fn quoted(text: &str) -> Option<Vec<u8>> {
    serde_json::to_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proto::v1::{
            ChatMessage, CreateChatCompletionRequest, CreateCompletionRequest,
            CreateEmbeddingRequest,
        },
        service::inflight_bytes::InflightBytes,
    };

    fn written<R: Serialize + DeserializeOwned>(request: &R) -> Bytes {
        json::encode_request(request).unwrap().into()
    }

    #[test]
    fn another_model_is_all_that_changes_for_another_model() {
        let odd = "a/\"b\\\u{1f980}\u{7}";
        let content = Some("\"model\":\"a/b\"".to_owned());
        let messages = vec![ChatMessage {
            content,
            ..ChatMessage::default()
        }];
        let chat = |model: &str| {
            let model = model.to_owned();
            written(&CreateChatCompletionRequest {
                model,
                messages: messages.clone(),
                ..Default::default()
            })
        };
        let text = |model: &str| {
            written(&CreateCompletionRequest {
                model: model.to_owned(),
                n: Some(2),
                ..Default::default()
            })
        };
        let vectors = |model: &str| {
            written(&CreateEmbeddingRequest {
                model: model.to_owned(),
                ..Default::default()
            })
        };
        let kinds: [&dyn Fn(&str) -> Bytes; 3] = [&chat, &text, &vectors];
        for kind in kinds {
            for (before, after) in [("a/b", odd), (odd, "a/b")] {
                assert_eq!(
                    with_model(&kind(before), before, after, None).unwrap(),
                    kind(after)
                );
            }
        }
        assert!(with_model(b"{}", "a", "b", None).is_err());
    }

    #[test]
    fn bytes_count_until_the_last_who_shares_them_is_gone() {
        let inflight = InflightBytes::new(1000);
        let share = inflight.share();
        share.add(500).unwrap();
        let held = Some(Arc::new(share.hold()));
        let body = Bytes::from_owner(Counted {
            bytes: br#"{"model":"a"}"#.to_vec(),
            held: held.clone(),
        });
        let other = with_model(&body, "a", "b", held).unwrap();
        drop((body, share));
        let copy = other.clone();
        drop(other);
        assert_eq!(inflight.used(), 500);
        drop(copy);
        assert_eq!(inflight.used(), 0);
    }
}
