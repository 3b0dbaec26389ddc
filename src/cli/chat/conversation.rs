//! The conversation of a session. It is the next request, and is saved as the body of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use super::image;
use crate::{
    json,
    proto::v1::{ChatMessage, ContentPart, CreateChatCompletionRequest},
};

const SYSTEM: &str = "system";
const ASSISTANT: &str = "assistant";

/// The largest file that is loaded: conversations with some images.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The messages so far, and the options of all requests.
#[derive(Debug)]
pub(super) struct Conversation {
    request: CreateChatCompletionRequest,
    /// The files that hold this conversation: they may be written over.
    own_files: Vec<PathBuf>,
}

impl Conversation {
    /// A conversation that begins with the messages of `request`.
    pub(super) fn new(request: CreateChatCompletionRequest) -> Self {
        Self {
            request,
            own_files: Vec::new(),
        }
    }

    /// Reads a conversation from a file.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or is no conversation.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
            return Err(format!("{name} is larger than {FILE_BYTES_MAX} bytes"));
        }
        let request: CreateChatCompletionRequest = json::decode_request(&text)
            .map_err(|error| format!("{name} is no saved conversation: {error}"))?;
        if request.model.is_empty() {
            return Err(format!(
                "{name} is no saved conversation: it names no model"
            ));
        }
        Ok(Self {
            request,
            own_files: vec![path.to_owned()],
        })
    }

    /// Writes the conversation into a file that only the user may read.
    ///
    /// # Errors
    /// A sentence: the file cannot be written, or is another one that exists.
    pub(super) fn save(&mut self, path: &Path) -> Result<(), String> {
        let name = path.display();
        let cannot = |error: &dyn std::fmt::Display| format!("cannot write {name}: {error}");
        let is_own = self.own_files.iter().any(|own| own == path);
        if !is_own && path.symlink_metadata().is_ok() {
            return Err(format!("{name} exists: remove it, or give another name"));
        }
        let body = json::encode_request(&self.request).map_err(|error| cannot(&error))?;
        // The old file stays until the new one is complete.
        let mut other = path.as_os_str().to_owned();
        other.push(format!(".{}.new", std::process::id()));
        let other = PathBuf::from(other);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&other).and_then(|mut file| {
            file.write_all(&[&body[..], b"\n"].concat())?;
            fs::rename(&other, path)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&other);
            return Err(cannot(&error));
        }
        if !is_own {
            self.own_files.push(path.to_owned());
        }
        Ok(())
    }

    pub(super) fn request(&self) -> &CreateChatCompletionRequest {
        &self.request
    }

    pub(super) fn model(&self) -> &str {
        &self.request.model
    }

    pub(super) fn set_model(&mut self, model: String) {
        self.request.model = model;
    }

    /// Sets the options that are given.
    pub(super) fn set_options(&mut self, temperature: Option<f64>, max_tokens: Option<i32>) {
        self.request.temperature = temperature.or(self.request.temperature);
        self.request.max_tokens = max_tokens.or(self.request.max_tokens);
    }

    /// The text of the system message.
    pub(super) fn system(&self) -> Option<&str> {
        let first = self.request.messages.first();
        let first = first.filter(|message| message.role == SYSTEM);
        first.and_then(|message| message.content.as_deref())
    }

    /// Sets the system message, or removes it.
    pub(super) fn set_system(&mut self, text: Option<String>) {
        let messages = &mut self.request.messages;
        if messages.first().is_some_and(|first| first.role == SYSTEM) {
            messages.remove(0);
        }
        if let Some(text) = text {
            messages.insert(0, message(SYSTEM, text));
        }
    }

    /// The number of messages besides that of the system.
    pub(super) fn messages(&self) -> usize {
        let messages = self.request.messages.iter();
        messages.filter(|message| message.role != SYSTEM).count()
    }

    /// Adds a prompt. An earlier prompt that has no answer is left out: chat templates want answers
    /// between prompts. Whether there is such a prompt.
    pub(super) fn ask(&mut self, prompt: String, images: Vec<ContentPart>) -> bool {
        let was_unanswered = self.is_unanswered();
        if was_unanswered {
            self.request.messages.pop();
        }
        let mut message = message("user", prompt);
        if !images.is_empty() {
            let prompt = message.content.take().unwrap_or_default();
            message.content_parts = image::parts(prompt, images);
        }
        self.request.messages.push(message);
        was_unanswered
    }

    /// Adds the answer to the last prompt, as far as it has words. Tool calls are left out, because
    /// nobody answers them, and so is audio, of which the upstream has the transcript.
    pub(super) fn answer(&mut self, answer: ChatMessage) {
        let is_word = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let transcript = answer.audio.and_then(|audio| audio.transcript);
        let content = [answer.content, transcript].into_iter().find(is_word);
        // Some engines send the same thoughts under both names.
        let (reasoning, reasoning_content) = match answer.reasoning_content {
            Some(thoughts) if !thoughts.is_empty() => (None, Some(thoughts)),
            _ => (answer.reasoning, None),
        };
        let message = ChatMessage {
            role: ASSISTANT.to_owned(),
            // A message has one text or parts.
            content: content
                .flatten()
                .filter(|_| answer.content_parts.is_empty()),
            content_parts: answer.content_parts,
            refusal: answer.refusal.filter(|text| !text.is_empty()),
            reasoning,
            reasoning_content,
            ..ChatMessage::default()
        };
        let has_words = message.content.is_some() || message.refusal.is_some();
        if has_words || !message.content_parts.is_empty() {
            self.request.messages.push(message);
        }
    }

    /// Removes the last answer, so that its prompt is asked again. Whether there is such a prompt.
    pub(super) fn retry(&mut self) -> bool {
        let messages = &mut self.request.messages;
        if messages.last().is_some_and(|last| last.role == ASSISTANT) {
            messages.pop();
        }
        self.is_unanswered()
    }

    /// Begins a new conversation with the same system message.
    pub(super) fn clear(&mut self) {
        let system = self.system().map(str::to_owned);
        self.request.messages.clear();
        self.own_files.clear();
        self.set_system(system);
    }

    fn is_unanswered(&self) -> bool {
        let last = self.request.messages.last();
        last.is_some_and(|last| last.role == "user")
    }
}

fn message(role: &str, text: String) -> ChatMessage {
    ChatMessage {
        role: role.to_owned(),
        content: Some(text),
        ..ChatMessage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(conversation: &Conversation) -> Vec<&str> {
        let messages = conversation.request.messages.iter();
        messages.map(|message| message.role.as_str()).collect()
    }

    #[test]
    fn prompts_and_answers_alternate() {
        let mut conversation = Conversation::new(CreateChatCompletionRequest::default());
        assert!(!conversation.retry());
        conversation.set_system(Some("short".to_owned()));
        assert!(!conversation.ask("one".to_owned(), Vec::new()));
        assert!(conversation.ask("two".to_owned(), Vec::new()));
        assert_eq!(roles(&conversation), ["system", "user"]);
        conversation.answer(ChatMessage::default());
        assert_eq!(roles(&conversation), ["system", "user"]);
        conversation.answer(message(ASSISTANT, "2".to_owned()));
        assert_eq!(conversation.messages(), 2);
        assert!(conversation.retry());
        assert_eq!(roles(&conversation), ["system", "user"]);
        let prompt = conversation.request.messages[1].content.as_deref();
        assert_eq!(prompt, Some("two"));
        conversation.clear();
        assert_eq!(conversation.system(), Some("short"));
        conversation.set_system(None);
        assert!(roles(&conversation).is_empty());
    }
}
