//! Errors inside an answer that began with 200: wrapped, unwrapped, and as plain text.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::refusal::{Refusal, json_type};
use super::super::steps::{Step, Steps};
use super::unary::UnaryAnswer;

const TIMEOUT_MESSAGE: &str = "no data in 30000ms";
const ENGINE_MESSAGE: &str = "the engine ran out of memory";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// `{"error": "…"}`. A unary answer is 500 with this body.
    Bare,
    /// `{"error": {…}}`. A unary answer is 500 with this body.
    Object,
    /// The refusal because no units are free. A unary answer is 429 with this body.
    Units,
    // For the variants below, a unary answer is 200 with the body.
    /// `type: rate_limit_error` and the code `"429"`, a string.
    RateLimit,
    /// `{"object": "error", …}`.
    Unwrapped,
    /// `{"detail": …}`.
    Detail,
    /// An event with the name `error`.
    Named,
    /// Plain text that is not JSON.
    PlainText,
    /// A member `error` beside the choices.
    BesideChoices,
}

impl StreamError {
    /// The error as the end of a stream. `[DONE]` follows an error that a client may mistake for a
    /// chunk.
    pub fn steps(self) -> Vec<Step> {
        match self {
            Self::Bare | Self::Object | Self::Units | Self::RateLimit => {
                vec![Step::Event(self.body())]
            }
            Self::Named => {
                let event = format!("event: error\ndata: {}\n\n", self.body());
                vec![Step::Raw(event.into()), Step::Done]
            }
            Self::PlainText => {
                let event = format!("data: {ENGINE_MESSAGE}\n\n");
                vec![Step::Raw(Bytes::from(event)), Step::Done]
            }
            Self::Unwrapped | Self::Detail | Self::BesideChoices => {
                vec![Step::Event(self.body()), Step::Done]
            }
        }
    }

    /// The complete stream, with an error beside the choices of the event after token `tokens`.
    pub fn beside(tokens: usize, steps: Steps) -> Steps {
        let mut left = tokens;
        Box::new(steps.map(move |step| match step {
            Step::Token(mut event) => {
                if left == 0 {
                    add_error(&mut event);
                }
                left = left.wrapping_sub(1);
                Step::Token(event)
            }
            other => other,
        }))
    }

    pub fn unary(self, mut answer: Value) -> UnaryAnswer {
        match self {
            Self::Bare => {
                let body = self.body().to_string();
                UnaryAnswer::Response(
                    (StatusCode::INTERNAL_SERVER_ERROR, json_type(), body).into_response(),
                )
            }
            Self::Object => UnaryAnswer::Response(Refusal::internal().into_response()),
            Self::Units => UnaryAnswer::Response(no_units().into_response()),
            Self::PlainText => UnaryAnswer::Text(ENGINE_MESSAGE.to_owned()),
            Self::BesideChoices => {
                add_error(&mut answer);
                UnaryAnswer::Answer(answer)
            }
            Self::RateLimit | Self::Unwrapped | Self::Detail | Self::Named => {
                UnaryAnswer::Answer(self.body())
            }
        }
    }

    fn body(self) -> Value {
        match self {
            Self::Bare => json!({ "error": TIMEOUT_MESSAGE }),
            Self::Object => Refusal::internal().body(),
            Self::Units => no_units().body(),
            Self::RateLimit => json!({"error": {
                "message": "Too many requests", "type": "rate_limit_error", "param": null,
                "code": "429",
            }}),
            Self::Unwrapped => json!({
                "object": "error", "message": ENGINE_MESSAGE, "type": "EngineError",
                "param": null, "code": 500,
            }),
            Self::Detail => json!({ "detail": ENGINE_MESSAGE }),
            Self::Named | Self::PlainText | Self::BesideChoices => {
                json!({"message": ENGINE_MESSAGE, "code": 500})
            }
        }
    }
}

fn add_error(answer: &mut Value) {
    let members = answer.as_object_mut();
    members.map(|members| members.insert("error".to_owned(), json!({"message": ENGINE_MESSAGE})));
}

fn no_units() -> Refusal {
    Refusal::concurrency("emulator/429-in-stream", 8, 1, 8)
}
