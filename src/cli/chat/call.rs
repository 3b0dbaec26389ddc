//! One call: its request, and its answer as it streams in.

use std::io::IsTerminal;

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
    view::View,
};
use crate::{
    json,
    proto::v1::{
        CreateChatCompletionRequest, GatewayOptions, QueuePosition, StreamChatCompletionResponse,
        StreamOptions, chat_service_client::ChatServiceClient,
    },
};

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
    pub(super) text: String,
    pub(super) timing: Timing,
    form: Form,
}

enum Form {
    Text(View),
    /// One JSON object on a line for each chunk.
    Json,
}

impl Answer {
    pub(super) fn as_text() -> Self {
        Self::of(Form::Text(View::new()))
    }

    pub(super) fn as_json() -> Self {
        Self::of(Form::Json)
    }

    fn of(form: Form) -> Self {
        Self {
            text: String::new(),
            timing: Timing::start(),
            form,
        }
    }

    /// Ends the last line of the output.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match &mut self.form {
            Form::Text(view) => view.finish(),
            Form::Json => Ok(()),
        }
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
        for choice in chunk.choices.iter().filter(|choice| choice.index == 0) {
            let ended_at_limit = choice.finish_reason.as_deref() == Some("length");
            let Form::Text(view) = &mut self.form else {
                continue;
            };
            if let Some(delta) = &choice.delta {
                let texts = [&delta.content, &delta.reasoning, &delta.reasoning_content];
                let has_text = texts
                    .iter()
                    .any(|text| text.as_deref().unwrap_or_default() != "");
                if has_text || !delta.tool_calls.is_empty() {
                    progress.end();
                    self.timing.piece();
                }
                view.show(delta)?;
                self.text
                    .push_str(delta.content.as_deref().unwrap_or_default());
            }
            if ended_at_limit {
                view.was_too_long();
            }
        }
        Ok(())
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
                Ok(None) => break,
                Err(status) => {
                    progress.end();
                    answer.finish()?;
                    return Err(client::failure(&status));
                }
            }
        }
        progress.end();
        answer.finish()
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
