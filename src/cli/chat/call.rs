//! One call: its request, and its answer as it streams in.

use std::{convert::Infallible, future, io::IsTerminal, time::Duration};

use tokio::time::sleep;
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
        units,
    },
    timing::Timing,
    view::View,
};
use crate::{
    json,
    proto::v1::{
        CreateChatCompletionRequest, GatewayOptions, StreamChatCompletionResponse, StreamOptions,
        WatchConcurrencyRequest, account_service_client::AccountServiceClient,
        chat_service_client::ChatServiceClient,
    },
};

/// Most answers begin earlier. Later, the units and the queue are shown.
const QUEUE_SHOWN_AFTER: Duration = Duration::from_secs(1);

type WithKey = InterceptedService<Channel, Key>;

/// Metadata of all calls.
pub(super) type Metadata = Vec<(&'static str, MetadataValue<Ascii>)>;

/// Calls the gateway.
pub(super) struct Caller {
    chat: ChatServiceClient<WithKey>,
    account: AccountServiceClient<WithKey>,
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
        let account = AccountServiceClient::with_interceptor(channel.clone(), key.clone());
        Self {
            chat: chat.max_decoding_message_size(client::MESSAGE_BYTES_MAX),
            account: account.max_decoding_message_size(client::MESSAGE_BYTES_MAX),
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
        let text = format!("waiting for {}", request.model);
        let progress = match has_terminal {
            true => Progress::start(text),
            false => Progress::hidden(),
        };
        let mut queue = has_terminal.then(|| Box::pin(self.tell_queue(&request.model, &progress)));
        let is_told = has_terminal || matches!(answer.form, Form::Json);
        let message = self.message(request.clone(), is_told);
        let mut chat = self.chat.clone();
        let reply = tokio::select! {
            reply = chat.stream_chat_completion(message) => reply,
            never = running(&mut queue) => match never {},
        };
        let mut stream = reply
            .map_err(|status| client::failure(&status))?
            .into_inner();
        loop {
            let chunk = tokio::select! {
                chunk = stream.message() => chunk,
                never = running(&mut queue) => match never {},
            };
            if !progress.runs() {
                queue = None;
            }
            match chunk {
                Ok(Some(chunk)) => answer.show(chunk, &progress)?,
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
    fn message(
        &self,
        mut request: CreateChatCompletionRequest,
        is_told: bool,
    ) -> Request<CreateChatCompletionRequest> {
        if is_told {
            let options = StreamOptions {
                include_usage: Some(true),
                ..request.stream_options.unwrap_or_default()
            };
            request.stream_options = Some(options);
            let options = GatewayOptions {
                report: Some(true),
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

    /// Says in `progress` why a call may wait. A gRPC call does not tell its own place in the queue.
    async fn tell_queue(&self, model: &str, progress: &Progress) -> Infallible {
        sleep(QUEUE_SHOWN_AFTER).await;
        let mut account = self.account.clone();
        // The account tells no news without a feed. The time is still shown then.
        if let Ok(reply) = account.watch_concurrency(WatchConcurrencyRequest {}).await {
            let mut snapshots = reply.into_inner();
            while let Ok(Some(snapshot)) = snapshots.message().await {
                let state = units::in_words(&snapshot);
                progress.say(format!("waiting for {model} · {state}"));
            }
        }
        future::pending().await
    }
}

/// Runs a future, if there is one.
async fn running(future: &mut Option<impl Future<Output = Infallible> + Unpin>) -> Infallible {
    match future {
        Some(future) => future.await,
        None => future::pending().await,
    }
}
