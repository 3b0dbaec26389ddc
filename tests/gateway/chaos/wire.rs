//! The bytes that the upstream sends for each cell: the part before the fault, and the fault.

use std::any::Any;

use featherwire::upstream::sse::EVENT_BYTES_MAX;
use serde_json::{Value, json};

use crate::support::{
    Gateway, MODEL, Reply, Scripted, prompt,
    scripted::{STREAM_HEAD, Then, chunk, chunked, finish, whole},
};

use super::{player::Play, table::*};

impl Play {
    /// Makes the upstream behave as the cell says, until the returned value is passed to
    /// [`repair`](Self::repair).
    pub async fn break_upstream(
        self,
        upstream: &mut Scripted,
        gateway: &Gateway,
    ) -> Option<Box<dyn Any>> {
        match (self.phase, self.fault) {
            _ if self.has_fallback => upstream.set_reply_for_model(Some((MODEL, self.reply()))),
            (Queue, _) => {
                upstream.set_reply(Reply::EventsThenSilence(vec![chunk("half")]));
                let mut ask = prompt(MODEL, "hi");
                ask["stream"] = json!(true);
                return Some(Box::new(gateway.post("/v1/chat/completions", &ask).await));
            }
            (Connect, Refuse) => upstream.refuse().await,
            (Connect, Reset) => upstream.set_greeting(Some(Then::Reset)),
            (Connect, Cut) => upstream.set_greeting(Some(Then::Close)),
            #[cfg(target_os = "linux")]
            (Connect, _) => return Some(Box::new(upstream.ignore().await)),
            _ => upstream.set_reply(self.reply()),
        }
        None
    }

    pub async fn repair(self, upstream: &mut Scripted) {
        match (self.phase, self.fault) {
            (Connect, Reset | Cut) => upstream.set_greeting(None),
            (Connect, _) => upstream.listen().await,
            _ if self.has_fallback => upstream.set_reply_for_model(None),
            _ => upstream.set_reply(self.good()),
        }
    }

    pub fn good(self) -> Reply {
        if self.is_streamed_upstream() {
            Reply::Events(vec![chunk("half"), finish(), "[DONE]".to_owned()])
        } else {
            Reply::Json(200, whole("half"))
        }
    }

    /// The part before the fault, and the fault.
    fn reply(self) -> Reply {
        let mut wire = String::new();
        match self.phase {
            Queue | Connect | Retry | Headers => {}
            // Half an answer looks complete if its head has the length of the half.
            Body => {
                let whole = whole("half").to_string();
                let half = if self.fault == Babble {
                    ""
                } else {
                    whole.get(..whole.len() / 2).unwrap()
                };
                let length = match self.fault {
                    BrokenJson => half.len(),
                    Babble => 1 << 20,
                    _ => whole.len(),
                };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
                wire += &format!("{head}\r\ncontent-length: {length}\r\n\r\n{half}");
                if self.fault == BrokenJson {
                    return Reply::Wire(wire.into_bytes(), Then::Next);
                }
            }
            FirstToken | MidStream | LastChunk | Done => wire += STREAM_HEAD,
        }
        for (phase, data) in [
            (MidStream, chunk("half")),
            (LastChunk, finish()),
            (Done, "[DONE]".to_owned()),
        ] {
            if self.phase >= phase {
                wire += &event(&data);
            }
        }
        let (more, then) = match self.phase {
            Retry => Self::refusal(),
            Headers => self.head(),
            _ => self.piece(),
        };
        Reply::Wire((wire + &more).into_bytes(), then)
    }

    /// A reply that the gateway retries.
    fn refusal() -> (String, Then) {
        let body = json!({"error": {"message": "No valid Executor", "type": "t", "code": null}})
            .to_string();
        let head = "HTTP/1.1 503 Scripted\r\ncontent-type: application/json";
        (
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            Then::Next,
        )
    }

    /// A fault in place of a head.
    fn head(self) -> (String, Then) {
        let reply = |status: u16, media_type: &str, body: &str| {
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\ncontent-type: {media_type}\r\nretry-after: 0"
            );
            (
                format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                Then::Next,
            )
        };
        let json = |status: u16, body: &Value| reply(status, "application/json", &body.to_string());
        let part = "HTTP/1.1 200 OK\r\ncontent-ty".to_owned();
        match self.fault {
            Stall => (part, Then::Silence),
            CutInside => (part, Then::Close),
            Status(429, what @ PLAN) => {
                // With a shorter wait the request would be retried, and the number of attempts
                // would depend on the machine.
                let refusal = json(
                    429,
                    &json!({"error": {"message": what, "type": "t", "code": null}}),
                )
                .0;
                (
                    refusal.replace("retry-after: 0", "retry-after: 60"),
                    Then::Next,
                )
            }
            Status(status, what) => json(
                status,
                &json!({"error": {"message": what, "type": "t", "code": null}}),
            ),
            Html(status) => reply(status, "text/html", "<html><h1>Bad gateway</h1></html>"),
            StatusThenSilence => (
                reply(500, "application/json", r#"{"error": "boom"}"#)
                    .0
                    .replace("boom\"}", ""),
                Then::Silence,
            ),
            Error => json(200, &json!({"error": "no data in 30000ms"})),
            Full => json(200, &full()),
            FullForLong => (
                json(429, &full())
                    .0
                    .replace("retry-after: 0", "retry-after: 60"),
                Then::Next,
            ),
            LimitedForLong => (
                json(429, &limited())
                    .0
                    .replace("retry-after: 0", "retry-after: 60"),
                Then::Next,
            ),
            BrokenJson => reply(200, "application/json", r#"{"id":"#),
            GiantLine => (
                format!("HTTP/1.1 200 OK\r\nx-giant: {}", "x".repeat(4 << 20)),
                Then::Silence,
            ),
            Garbage => (
                "220 smtp.example.com ESMTP\r\n\r\n".to_owned(),
                Then::Silence,
            ),
            _ => self.piece(),
        }
    }

    /// A fault in place of the next piece of a body.
    fn piece(self) -> (String, Then) {
        let part = chunked(r#"data: {"id":"chatcmpl-1","cho"#);
        let end = "0\r\n\r\n";
        match self.fault {
            Silence | CallerLeaves | Deadline => (String::new(), Then::Silence),
            Reset => (String::new(), Then::Reset),
            Cut => (String::new(), Then::Close),
            Stall => (part, Then::Silence),
            CutInside => (part, Then::Close),
            Eof => (end.to_owned(), Then::Next),
            EofInside => (part + end, Then::Next),
            Babble if self.phase == Body => (String::new(), Then::Repeat(b" ".to_vec())),
            Babble => (
                String::new(),
                Then::Repeat(chunked(": still here\n\n").into_bytes()),
            ),
            TalksOn => (
                String::new(),
                Then::Repeat(event(&chunk("half")).into_bytes()),
            ),
            Html(_) => (
                chunked("<html><h1>Bad gateway</h1></html>\n\n") + end,
                Then::Next,
            ),
            Error => (
                event(&json!({"error": "no data in 30000ms"}).to_string()),
                Then::Silence,
            ),
            Full => (event(&full().to_string()), Then::Silence),
            Limited => (event(&limited().to_string()), Then::Silence),
            Unwrapped => {
                let error = json!({"object": "error", "message": "boom",
                    "type": "InternalServerError", "code": 500});
                (event(&error.to_string()), Then::Silence)
            }
            ErrorEvent => (chunked("event: error\ndata: boom\n\n"), Then::Silence),
            Reason(reason) => {
                let piece = crate::support::scripted::event(&json!({}), Some(reason));
                (event(&piece) + &event("[DONE]") + end, Then::Next)
            }
            BrokenJson => (event(r#"{"id":"#), Then::Silence),
            GiantLine => (
                chunked(&format!("data: {}", "x".repeat(EVENT_BYTES_MAX))),
                Then::Silence,
            ),
            Refuse | Status(..) | StatusThenSilence | Garbage | FullForLong | LimitedForLong => {
                panic!("{:?} has no {:?}", self.phase, self.fault)
            }
        }
    }
}

fn event(data: &str) -> String {
    chunked(&format!("data: {data}\n\n"))
}

fn full() -> Value {
    json!({"error": {"message": "full", "type": "t", "code": "concurrency_limit_exceeded"}})
}

fn limited() -> Value {
    json!({"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}})
}
