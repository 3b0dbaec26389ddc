//! An answer, in one form for all doors.

use std::fmt;

use featherwire::{
    error::Kind,
    proto::v1::{
        CallReport, ChatMessage, CreateChatCompletionResponse, StreamChatCompletionResponse,
        ToolCall, Usage,
    },
};
use http::HeaderMap;

/// An answer, in one form for all doors.
#[derive(Debug, Default)]
pub struct Answer {
    pub role: String,
    pub content: String,
    pub reasoning: String,
    /// The name and the arguments of each tool call.
    pub tool_calls: Vec<(String, String)>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    pub logprobs: usize,
    /// The number of chunks.
    pub pieces: usize,
    pub upstream_request_id: Option<String>,
    pub request_id: Option<String>,
    /// The model that answered, if it differs from the requested one, and the models tried before.
    pub served_by: Option<String>,
    pub tried: Option<String>,
    pub waited_ms: Option<u64>,
    /// The report of the call, if the answer has one.
    pub report: Option<CallReport>,
    /// The last chunk of a stream.
    pub last: Option<StreamChatCompletionResponse>,
    pub failure: Option<Failure>,
}

/// An error in the form of its dialect.
pub struct Failure {
    /// The kinds with this status.
    pub kinds: Vec<Kind>,
    pub code: String,
    pub message: String,
    pub param: Option<String>,
    pub retry_after_seconds: Option<u64>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.kinds, self.code, self.message)
    }
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.failure.is_none(), "{self:?}");
        assert!(
            self.finish_reason.is_some(),
            "an answer without an end: {self:?}"
        );
        self
    }

    /// The error, which must be of this kind and have this code.
    #[track_caller]
    pub fn failed(self, kind: Kind, code: &str) -> Failure {
        let failure = self
            .failure
            .unwrap_or_else(|| panic!("expected {code}, got an answer: {:?}", self.content));
        assert!(
            failure.kinds.contains(&kind) && failure.code == code,
            "expected {kind:?} {code}, got {failure:?}"
        );
        failure
    }
}

impl Answer {
    pub(super) fn with_ids(mut self, headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        self.upstream_request_id = text("x-featherless-request-id").or(self.upstream_request_id);
        self.request_id = text("x-request-id").or(self.request_id);
        self.served_by = text("x-featherwire-model").or(self.served_by);
        self.tried = text("x-featherwire-tried").or(self.tried);
        self.waited_ms = text("x-featherwire-waited-ms")
            .map(|number| number.parse().unwrap())
            .or(self.waited_ms);
        self
    }

    pub(super) fn take_whole(&mut self, response: CreateChatCompletionResponse) {
        assert!(!response.id.is_empty() && response.created > 0 && !response.model.is_empty());
        let choice = response.choices.into_iter().next().unwrap();
        let ChatMessage {
            role,
            content,
            tool_calls,
            reasoning_content,
            ..
        } = choice.message.unwrap();
        self.role = role;
        self.content = content.unwrap_or_default();
        self.reasoning = reasoning_content.unwrap_or_default();
        tool_calls
            .into_iter()
            .for_each(|call| self.take_tool_call(call));
        self.finish_reason = choice.finish_reason;
        self.logprobs = choice
            .logprobs
            .map(|logprobs| logprobs.content.len())
            .unwrap_or_default();
        self.usage = response.usage;
        self.report = response.featherwire.map(|report| *report);
        self.pieces = 1;
    }

    pub(super) fn take_piece(&mut self, piece: StreamChatCompletionResponse) {
        self.pieces += 1;
        self.last = Some(piece.clone());
        self.report = piece
            .featherwire
            .map(|report| *report)
            .or(self.report.take());
        self.usage = piece.usage.or(self.usage.take());
        for choice in piece.choices {
            let delta = choice.delta.unwrap_or_default();
            self.role.push_str(&delta.role.unwrap_or_default());
            self.content.push_str(&delta.content.unwrap_or_default());
            self.reasoning
                .push_str(&delta.reasoning_content.unwrap_or_default());
            delta
                .tool_calls
                .into_iter()
                .for_each(|call| self.take_tool_call(call));
            self.logprobs += choice
                .logprobs
                .map(|logprobs| logprobs.content.len())
                .unwrap_or_default();
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        }
    }

    /// Adds a complete tool call or a part of one. A name starts a new call.
    fn take_tool_call(&mut self, call: ToolCall) {
        let function = call.function.unwrap_or_default();
        if let Some(name) = function.name {
            self.tool_calls.push((name, String::new()));
        }
        if let (Some((_, arguments)), Some(more)) = (self.tool_calls.last_mut(), function.arguments)
        {
            arguments.push_str(&more);
        }
    }
}
