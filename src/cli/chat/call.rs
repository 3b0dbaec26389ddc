//! One call: its request, and its answer as it streams in.

use std::io::IsTerminal;

use prost::Message;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::Channel,
};

use super::{
    super::{
        client::{self, Key},
        failure::Failure,
        output, printable,
        progress::Progress,
    },
    timing::Timing,
    view::{self, View},
};
use crate::{
    json,
    proto::v1::{
        ChatChunkChoice, ChatDelta, ChatMessage, CreateChatCompletionRequest, GatewayOptions,
        QueuePosition, StreamChatCompletionResponse, StreamOptions,
        chat_service_client::ChatServiceClient,
    },
    service::chat_accumulator::ChatAccumulator,
};

/// The largest answer of a session, and the largest tool calls of every answer.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

type WithKey = InterceptedService<Channel, Key>;

/// Metadata of all calls.
pub(super) type Metadata = Vec<(&'static str, MetadataValue<Ascii>)>;

/// Calls the gateway.
pub(super) struct Caller {
    chat: ChatServiceClient<WithKey>,
    metadata: Metadata,
}

/// An answer. What has come of it stays, however it ends.
pub(super) struct Answer {
    /// What is kept of the answer, after its end.
    pub(super) message: ChatMessage,
    pub(super) timing: Timing,
    form: Form,
    sum: ChatAccumulator,
    kept_bytes: usize,
    /// Whether the text is kept, and not only shown.
    keeps_text: bool,
}

enum Form {
    Text(View),
    /// One JSON object on a line for each chunk.
    Json,
}

impl Answer {
    /// The answer of a session, which goes on with it.
    pub(super) fn in_session() -> Self {
        Self::of(Form::Text(View::new()), true)
    }

    pub(super) fn as_text() -> Self {
        Self::of(Form::Text(View::new()), false)
    }

    pub(super) fn as_json() -> Self {
        Self::of(Form::Json, false)
    }

    fn of(form: Form, keeps_text: bool) -> Self {
        Self {
            message: ChatMessage::default(),
            timing: Timing::start(),
            form,
            sum: ChatAccumulator::default(),
            kept_bytes: 0,
            keeps_text,
        }
    }

    /// Shows what is shown at the end, and ends the last line of the output.
    pub(super) fn finish(&mut self, is_complete: bool) -> Result<(), Failure> {
        let Form::Text(view) = &mut self.form else {
            return Ok(());
        };
        let sum = std::mem::take(&mut self.sum).finish();
        let message = sum.choices.into_iter().find_map(|choice| choice.message);
        self.message = message.unwrap_or_default();
        view.finish(&self.message, is_complete)
    }

    /// Shows a chunk.
    fn show(
        &mut self,
        chunk: StreamChatCompletionResponse,
        progress: &Progress,
    ) -> Result<(), Failure> {
        if let Form::Json = self.form {
            let mut line = Vec::new();
            json::encode_answer(&chunk, &mut line)
                .map_err(|error| format!("a chunk of the answer is no JSON: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            output::print(format_args!("{}\n", printable::json(&line)))?;
        }
        self.timing
            .note(chunk.usage, chunk.featherwire.map(|report| *report));
        for choice in chunk.choices {
            let Form::Text(view) = &mut self.form else {
                continue;
            };
            if choice.index != 0 {
                view.has_others();
                continue;
            }
            if let Some(delta) = &choice.delta {
                let has_text = view::has_text(delta);
                if has_text {
                    progress.end();
                }
                if has_text || !delta.tool_calls.is_empty() || delta.function_call.is_some() {
                    self.timing.piece();
                }
            }
            view.show(&choice)?;
            self.keep(choice)?;
        }
        Ok(())
    }

    fn keep(&mut self, mut piece: ChatChunkChoice) -> Result<(), Failure> {
        piece.logprobs = None;
        if !self.keeps_text {
            let delta = piece.delta.unwrap_or_default();
            piece.delta = Some(ChatDelta {
                tool_calls: delta.tool_calls,
                function_call: delta.function_call,
                ..ChatDelta::default()
            });
        }
        self.kept_bytes = self.kept_bytes.saturating_add(piece.encoded_len());
        self.sum.add(StreamChatCompletionResponse {
            choices: vec![piece],
            ..StreamChatCompletionResponse::default()
        });
        match self.kept_bytes > KEPT_BYTES_MAX || self.sum.is_too_large() {
            true => Err(Failure::failed(format_args!(
                "the answer is larger than {KEPT_BYTES_MAX} bytes"
            ))),
            false => Ok(()),
        }
    }
}

impl Caller {
    pub(super) fn new(channel: &Channel, key: &Key, metadata: Metadata) -> Self {
        let chat = ChatServiceClient::with_interceptor(channel.clone(), key.clone());
        Self {
            chat: chat.max_decoding_message_size(client::MESSAGE_BYTES_MAX),
            metadata,
        }
    }

    /// Sends `request`, and shows the answer as it comes. Dropping the future ends the call.
    ///
    /// # Errors
    /// The call fails, or the output is closed.
    pub(super) async fn answer(
        &self,
        request: CreateChatCompletionRequest,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let result = self.receive(request, answer).await;
        answer.finish(result.is_ok())?;
        result
    }

    async fn receive(
        &self,
        request: CreateChatCompletionRequest,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        // Not where the text goes to another program, which may show it in the same terminal.
        let has_terminal = std::io::stdout().is_terminal();
        let waiting = format!("waiting for {}", request.model);
        let progress = match has_terminal {
            true => Progress::start(waiting.clone()),
            false => Progress::hidden(),
        };
        let is_told = has_terminal || matches!(answer.form, Form::Json);
        let message = self.message(request, is_told, has_terminal);
        let reply = self.chat.clone().stream_chat_completion(message).await;
        let mut stream = reply
            .map_err(|status| client::failure(&status))?
            .into_inner();
        loop {
            match stream.message().await {
                Ok(Some(chunk)) => match queue(&chunk) {
                    Some(queue) => progress.say(format!("{waiting} · {}", in_words(queue))),
                    None => answer.show(chunk, &progress)?,
                },
                Ok(None) => return Ok(()),
                Err(status) => return Err(client::failure(&status)),
            }
        }
    }

    /// The request as it is sent. `is_told`: with a report of the call and its usage.
    /// `has_queue`: with its position in the queue for units.
    fn message(
        &self,
        mut request: CreateChatCompletionRequest,
        is_told: bool,
        has_queue: bool,
    ) -> Request<CreateChatCompletionRequest> {
        if is_told {
            let options = StreamOptions {
                include_usage: Some(true),
                ..request.stream_options.unwrap_or_default()
            };
            request.stream_options = Some(options);
            let options = GatewayOptions {
                report: Some(true),
                queue: has_queue.then_some(true),
                ..*request.featherwire.unwrap_or_default()
            };
            request.featherwire = Some(Box::new(options));
        }
        let mut message = Request::new(request);
        for (name, value) in &self.metadata {
            message.metadata_mut().insert(*name, value.clone());
        }
        message
    }
}

/// How the call waits, if the chunk tells that.
fn queue(chunk: &StreamChatCompletionResponse) -> Option<&QueuePosition> {
    chunk.featherwire.as_ref()?.queue.as_deref()
}

fn in_words(queue: &QueuePosition) -> String {
    match queue.requests_ahead {
        None => "not in the queue any more".to_owned(),
        Some(ahead) if ahead < 1 => "next in the queue".to_owned(),
        Some(ahead) => {
            let place = i64::from(ahead) + 1;
            let ending = match (place % 100, place % 10) {
                (11..=13, _) => "th",
                (_, 1) => "st",
                (_, 2) => "nd",
                (_, 3) => "rd",
                _ => "th",
            };
            format!("{place}{ending} in the queue")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_in_words() {
        let words = |requests_ahead| {
            in_words(&QueuePosition {
                requests_ahead,
                ..QueuePosition::default()
            })
        };
        assert_eq!(words(Some(0)), "next in the queue");
        let places = [1, 2, 3, 10, 11, 12, 20, 21, 110];
        let endings = [
            "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "111th",
        ];
        assert_eq!(
            places.map(|ahead| words(Some(ahead))),
            endings.map(|place| format!("{place} in the queue"))
        );
        assert_eq!(words(None), "not in the queue any more");
    }
}
