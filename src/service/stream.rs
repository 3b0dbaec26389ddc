//! A streamed answer on its way to a door.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};

use super::{
    Call,
    circuit::Pass,
    dispatch::{Begun, failed},
    report::{Last, Reported},
};
use crate::{
    admission::Permit,
    error::{Error, Result},
    proto::v1::{ChatDelta, StreamChatCompletionResponse, StreamCompletionResponse},
    upstream::{self, ChoiceEnd, FAILURE_MEMBERS, IdentityFields, StreamMessage},
};

/// A streamed answer. Dropping it gives back all that it holds, the upstream connection first of
/// all.
#[derive(Debug)]
pub struct ResponseStream<M> {
    /// None after its one end.
    pieces: Option<upstream::StartedStream<M>>,
    /// The units that it holds, until its end.
    permit: Option<Permit>,
    /// What hears of its end, for the model's circuit. A caller who leaves says nothing of the
    /// model.
    pass: Option<Pass>,
    call: Call,
    /// The model that the caller asked for.
    asked: String,
    /// What is told of the call after its last piece, if that is wanted.
    last: Option<Box<Last<M>>>,
}

/// A message of a streamed answer.
pub trait StreamedMessage: StreamMessage + Reported + Default {}

impl<M: StreamMessage + Reported + Default> StreamedMessage for M {}

impl<M: StreamMessage + Reported + Default> ResponseStream<M> {
    pub(super) fn new(
        Begun {
            pieces,
            permit,
            pass,
            report,
        }: Begun<M>,
        call: Call,
        asked: String,
    ) -> Self {
        let last = report.map(|report| Box::new(Last::with(report)));
        Self {
            pieces: Some(pieces),
            permit: Some(permit),
            pass,
            call,
            asked,
            last,
        }
    }
}

// Nothing in it is pinned.
impl<M> Unpin for ResponseStream<M> {}

impl<M: StreamMessage + Reported + Default> Stream for ResponseStream<M> {
    type Item = Result<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(pieces) = &mut this.pieces else {
            return Poll::Ready(None);
        };
        let mut item = match pieces.poll_next_unpin(context) {
            Poll::Ready(item) if !this.call.is_over() => item,
            Poll::Ready(_) => Some(Err(Error::draining())),
            Poll::Pending => Some(Err(ready!(this.call.poll_over(context)))),
        };
        match &mut item {
            Some(Ok(piece)) => {
                if let Some(last) = &mut this.last {
                    last.name_like(piece);
                }
                return Poll::Ready(item);
            }
            Some(Err(error)) => {
                this.call.fail(error);
                this.pass
                    .take()
                    .into_iter()
                    .for_each(|pass| pass.told(error));
            }
            None => {
                this.call.finish();
                this.pass.take().into_iter().for_each(Pass::succeeded);
            }
        }
        this.pieces = None;
        let item = match (item, this.permit.take()) {
            (Some(Err(error)), Some(permit)) => Some(Err(failed(permit, error))),
            (item, permit) => {
                permit.into_iter().for_each(Permit::finish);
                item.or_else(|| this.last.take().map(|last| Ok(last.into_message())))
            }
        };
        Poll::Ready(item.map(|item| item.map_err(|error| error.with_model(&this.asked))))
    }
}

impl StreamMessage for StreamChatCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        self.choices.iter().map(|choice| {
            (
                choice.index,
                has_ended(choice.finish_reason.as_deref(), &choice.extra),
            )
        })
    }

    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>> {
        self.choices.iter().map(|choice| ChoiceEnd {
            reason: choice.finish_reason.as_deref(),
            extra: &choice.extra,
        })
    }

    fn without_failure(mut self) -> Option<Self> {
        self.extra.remove("error");
        self.choices
            .iter_mut()
            .for_each(|choice| forget_failure(&mut choice.finish_reason, &mut choice.extra));
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

    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        let Self {
            id,
            created,
            model,
            extra,
            ..
        } = self;
        Some(IdentityFields {
            id: Some(("chatcmpl-", id)),
            created: Some(created),
            model,
            extra,
        })
    }

    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        self.choices.iter_mut().map(|item| &mut item.index)
    }

    fn fill_in(&mut self) {
        self.leave_out_foreign();
        for delta in self
            .choices
            .iter_mut()
            .filter_map(|choice| choice.delta.as_mut())
        {
            // As in a whole answer: of a role that is no text nothing else can be said.
            if !delta.extra.is_empty() && delta.extra.remove("role").is_some() {
                delta.role = Some("assistant".to_owned());
            }
        }
    }
}

/// The first chunk of most engines says who speaks, and perhaps an empty text; the first token is
/// yet to come.
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
        && !says(&delta.extra)
}

/// Whether members that we don't know have something in them: that may be the answer.
fn says(extra: &BTreeMap<String, String>) -> bool {
    extra.values().any(|value| is_something(value))
}

/// Whether JSON text is more than an empty value.
fn is_something(json: &str) -> bool {
    const NOTHING: [&str; 5] = ["null", "\"\"", "[]", "{}", "false"];
    !NOTHING.contains(&json)
}

/// Takes out of a choice what says that it ends here: its last piece must not look like the end of
/// a whole answer.
fn forget_failure(finish_reason: &mut Option<String>, extra: &mut BTreeMap<String, String>) {
    *finish_reason = None;
    for name in FAILURE_MEMBERS {
        extra.remove(name);
    }
}

/// Whether a choice says why it ended. Some engines send an empty reason with every chunk; that is
/// none, and so is zero. A reason that is no text stands among the members without a field.
pub fn has_ended(reason: Option<&str>, extra: &BTreeMap<String, String>) -> bool {
    let is_reason = |json: &String| is_something(json) && json != "0";
    match reason {
        Some(reason) => !reason.is_empty(),
        None => !extra.is_empty() && extra.get("finish_reason").is_some_and(is_reason),
    }
}

impl StreamMessage for StreamCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        self.choices.iter().map(|choice| {
            (
                choice.index,
                has_ended(choice.finish_reason.as_deref(), &choice.extra),
            )
        })
    }

    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>> {
        self.choices.iter().map(|choice| ChoiceEnd {
            reason: choice.finish_reason.as_deref(),
            extra: &choice.extra,
        })
    }

    fn without_failure(mut self) -> Option<Self> {
        self.extra.remove("error");
        self.choices
            .iter_mut()
            .for_each(|choice| forget_failure(&mut choice.finish_reason, &mut choice.extra));
        self.choices
            .iter()
            .any(|choice| !choice.text.is_empty())
            .then_some(self)
    }

    fn has_content(&self) -> bool {
        self.choices.iter().any(|choice| {
            has_ended(choice.finish_reason.as_deref(), &choice.extra)
                || !choice.text.is_empty()
                || says(&choice.extra)
        })
    }

    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        let Self {
            id,
            created,
            model,
            extra,
            ..
        } = self;
        Some(IdentityFields {
            id: Some(("cmpl-", id)),
            created: Some(created),
            model,
            extra,
        })
    }

    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        self.choices.iter_mut().map(|item| &mut item.index)
    }

    fn fill_in(&mut self) {
        self.leave_out_foreign();
    }
}
