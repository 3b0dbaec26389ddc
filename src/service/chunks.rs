//! The messages of streamed answers, as the upstream's client reads them.

use std::collections::BTreeMap;

use super::{
    choices::{has_ended, have_content, message_with_choices},
    report::Reported as _,
};
use crate::{
    proto::v1::{ChatDelta, StreamChatCompletionResponse, StreamCompletionResponse},
    upstream::{FAILURE_MEMBERS, StreamMessage},
};

/// The methods that are the same for all chunks with `choices`.
macro_rules! chunk_with_choices {
    ($prefix:literal) => {
        message_with_choices!($prefix);

        fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
            self.choices.iter().map(|choice| {
                (
                    choice.index,
                    has_ended(choice.finish_reason.as_deref(), &choice.extra),
                )
            })
        }
    };
}

/// Removes from a chunk that the answer fails here.
macro_rules! remove_failure {
    ($chunk:ident) => {
        $chunk.extra.remove("error");
        for choice in &mut $chunk.choices {
            remove_failure(&mut choice.finish_reason, &mut choice.extra);
        }
    };
}

impl StreamMessage for StreamChatCompletionResponse {
    chunk_with_choices!("chatcmpl-");

    fn without_failure(mut self) -> Option<Self> {
        remove_failure!(self);
        self.has_content().then_some(self)
    }

    fn has_content(&self) -> bool {
        self.choices.iter().any(|choice| {
            has_ended(choice.finish_reason.as_deref(), &choice.extra)
                || choice
                    .delta
                    .as_ref()
                    .is_some_and(|delta| !is_only_role(delta))
        })
    }

    fn fill_in(&mut self) {
        self.remove_upstream_report();
        for delta in self
            .choices
            .iter_mut()
            .filter_map(|choice| choice.delta.as_mut())
        {
            // A role that is not text can only be this one, as in a complete answer.
            if !delta.extra.is_empty() && delta.extra.remove("role").is_some() {
                delta.role = Some("assistant".to_owned());
            }
        }
    }
}

impl StreamMessage for StreamCompletionResponse {
    chunk_with_choices!("cmpl-");

    fn without_failure(mut self) -> Option<Self> {
        remove_failure!(self);
        self.choices
            .iter()
            .any(|choice| !choice.text.is_empty())
            .then_some(self)
    }

    fn has_content(&self) -> bool {
        self.choices.iter().any(|choice| {
            has_ended(choice.finish_reason.as_deref(), &choice.extra)
                || !choice.text.is_empty()
                || have_content(&choice.extra)
        })
    }

    fn fill_in(&mut self) {
        self.remove_upstream_report();
    }
}

/// Whether a delta has only a role, and perhaps an empty text. The first chunk of most engines is
/// like this; the first token comes later.
fn is_only_role(delta: &ChatDelta) -> bool {
    let has_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    delta.content_parts.is_empty()
        && delta.tool_calls.is_empty()
        && delta.function_call.is_none()
        && delta.audio.is_none()
        && ![
            &delta.content,
            &delta.reasoning,
            &delta.reasoning_content,
            &delta.refusal,
        ]
        .into_iter()
        .any(has_text)
        && !have_content(&delta.extra)
}

/// Removes from a choice that it ends here. The last message before a failure must not look like
/// the end of a complete answer.
fn remove_failure(finish_reason: &mut Option<String>, extra: &mut BTreeMap<String, String>) {
    *finish_reason = None;
    for name in FAILURE_MEMBERS {
        extra.remove(name);
    }
}
