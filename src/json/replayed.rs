//! Answers that a caller gives back: which messages of a request are read leniently, as answers
//! are.
//!
//! An answer's message may be appended to the next request as it is. So what was let through on the
//! way to the caller is let through on the way back. The messages that a caller writes by hand are
//! held to their types, since a clear error helps there: those of the roles in [`CALLERS_ROLES`].

use std::{borrow::Cow, cell::RefCell, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Extra, Key, Mode, bounds::push, read::read_by};
use crate::proto::{bounds::Limit, v1::limits};

/// Roles of messages that are never an answer.
const CALLERS_ROLES: [&str; 3] = ["system", "developer", "user"];

const MESSAGES_MAX: usize = limits::CREATE_CHAT_COMPLETION_REQUEST_MESSAGES.max;

/// For each message of a request, whether it is read as an answer is.
#[derive(Default)]
pub(super) struct Messages(Vec<bool>);

thread_local! {
    static MESSAGES: RefCell<Messages> = const { RefCell::new(Messages(Vec::new())) };
}

impl Messages {
    /// Those of this request; none of what isn't one.
    pub(super) fn of(text: &str) -> Self {
        let Some(messages) = member("messages", text) else {
            return Self::default();
        };
        Self(
            serde_json::Deserializer::from_str(messages)
                .deserialize_seq(Answers)
                .unwrap_or_default(),
        )
    }

    /// Has [`read_messages`] heed them while this work is done.
    pub(super) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Messages);
        impl Drop for Restore {
            fn drop(&mut self) {
                MESSAGES.replace(std::mem::take(&mut self.0));
            }
        }
        let _restore = Restore(MESSAGES.replace(self));
        work()
    }

    fn has_answer_at(place: usize) -> bool {
        MESSAGES.with_borrow(|messages| messages.0.get(place).copied().unwrap_or_default())
    }
}

/// Which messages of a list may be answers, of as many as a request may have.
struct Answers;

impl<'de> Visitor<'de> for Answers {
    type Value = Vec<bool>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<bool>, A::Error> {
        let mut answers = Vec::new();
        while let Some(message) = list.next_element::<&RawValue>()? {
            if answers.len() < MESSAGES_MAX {
                answers.push(is_answer(message.get()));
            }
        }
        Ok(answers)
    }
}

/// Whether this message may be an answer, by its role.
fn is_answer(message: &str) -> bool {
    let role =
        member("role", message).and_then(|role| serde_json::from_str::<Cow<'_, str>>(role).ok());
    role.is_some_and(|role| !role.is_empty() && !CALLERS_ROLES.contains(&role.as_ref()))
}

/// Reads a request's messages.
pub(crate) fn read_messages<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut Vec<T>,
    limit: &Limit,
) -> Result<(), A::Error> {
    let mut value = None;
    read_by(List(limit, PhantomData), map, name, extra, &mut value)?;
    *field = value.unwrap_or_default();
    Ok(())
}

/// The text of an object's member; the last one of this name counts.
fn member<'de>(name: &str, text: &'de str) -> Option<&'de str> {
    struct Member<'a>(&'a str);
    impl<'de> Visitor<'de> for Member<'_> {
        type Value = Option<&'de str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Key(name)) = map.next_key()? {
                if name == self.0 {
                    found = Some(map.next_value::<&RawValue>()?.get());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Names are read leniently, too: half a surrogate pair in one is not the end of all.
    Mode::Lenient
        .during(|| deserializer.deserialize_map(Member(name)))
        .ok()?
}

/// A list, or null for none.
struct List<'a, T>(&'a Limit, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for List<'_, T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<'_, T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = list.next_element_seed(Message(messages.len(), PhantomData))? {
            push(&mut messages, self.0, message)?;
        }
        Ok(Some(messages))
    }
}

/// The message in this place.
struct Message<T>(usize, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Message<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        if Messages::has_answer_at(self.0) {
            Mode::Lenient.during(|| T::deserialize(deserializer))
        } else {
            T::deserialize(deserializer)
        }
    }
}
