//! What an event of a streamed answer means: a message of the answer, its failure, or its end.

use super::{
    choices::ChoiceTracker,
    error::{self, local::bad_event},
    identity::{self, Identity},
    limits::ERROR_BODY_BYTES_MAX,
    options::RequestOptions,
    sse::Event,
    stream_message::StreamMessage,
};
use crate::{
    error::{Error, ErrorCode},
    json::{self, Chunk},
    offload,
};

/// What one event means.
pub(super) enum Meaning<M> {
    /// A message of the answer.
    Message(Chunk<M>),
    /// The answer has failed, after this last message.
    Failed(Option<Box<M>>, Error),
    /// It cannot be decoded.
    Broken(Error),
    /// The answer is complete.
    Done,
}

/// Interprets the events of one stream.
pub(super) struct Interpreter<M> {
    choices: ChoiceTracker,
    identity: Identity,
    templates: json::TemplateReader<M>,
    model: Option<String>,
}

impl<M: StreamMessage> Interpreter<M> {
    /// An interpreter for the answer to a request with these `options`.
    pub(super) fn new(options: RequestOptions<'_>) -> Self {
        Self {
            choices: ChoiceTracker::expecting(options.choices),
            identity: Identity::default(),
            templates: json::TemplateReader::default(),
            model: options.model.map(str::to_owned),
        }
    }

    /// Whether the answer is complete if nothing more comes.
    pub(super) fn is_complete(&self) -> bool {
        self.choices.are_complete()
    }

    /// What an event with a field name means.
    pub(super) fn interpret(&mut self, event: &Event<'_>) -> Meaning<M> {
        let model = self.model.as_deref();
        let data = event.data.trim_ascii();
        if event.is_error {
            return Meaning::Failed(None, error::from_error_event(data, model));
        }
        if data == b"[DONE]" {
            return if self.choices.are_finished() {
                Meaning::Done
            } else {
                Meaning::Failed(None, cut())
            };
        }
        if let Some(repeat) = self.templates.read(data) {
            return self.record(Chunk::Repeat(repeat));
        }
        let mut message: M = match offload::run_in_place(data.len(), || json::decode_answer(data)) {
            Ok(message) => message,
            Err(problem) => {
                // The event may be a list with an error in it.
                if let Some(error) = error::from_event(data, model) {
                    return Meaning::Failed(None, error);
                }
                return Meaning::Broken(bad_event(&problem));
            }
        };
        let decoded = self
            .templates
            .is_learning(&mut message)
            .then(|| message.clone());
        if let Some(fields) = message.identity_fields() {
            self.identity.fill_in(fields, model);
        }
        if identity::lack_indexes(message.indexes()) {
            identity::set_indexes(message.indexes(), data);
        }
        message.fill_in();
        // An error is a member that messages have no field for, or takes the place of the choices.
        let is_odd = !message.extra().is_empty()
            && (message.extra().contains_key("error") || message.choices().next().is_none());
        let error = if is_odd {
            error::from_event(data, model)
        } else {
            None
        };
        if let Some(error) =
            error.or_else(|| message.choice_ends().find_map(|end| end.error(model)))
        {
            return Meaning::Failed(message.without_failure().map(Box::new), error);
        }
        if let Some(decoded) = decoded {
            self.templates.learn(data, decoded, message.clone());
        }
        self.record(message.into())
    }

    /// Records what a message of the answer says about its choices.
    fn record(&mut self, chunk: Chunk<M>) -> Meaning<M> {
        for (index, is_last) in chunk.without_text().choices() {
            if let Err(error) = self.choices.record(index, is_last) {
                return Meaning::Failed(None, error);
            }
        }
        Meaning::Message(chunk)
    }

    /// The error in a line without a field name, if it is one. A line that is longer than any error
    /// of an API is not parsed.
    pub(super) fn bare_error(&self, line: &Event<'_>) -> Option<Error> {
        if line.data.len() > ERROR_BODY_BYTES_MAX {
            None
        } else {
            error::from_event(line.data, self.model.as_deref())
        }
    }
}

/// The error of an answer that was cut.
pub(super) fn cut() -> Error {
    let message = "Featherless stopped before the answer was finished; it is incomplete: try again";
    Error::new(ErrorCode::UpstreamStreamCut, message)
}
