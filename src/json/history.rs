//! The messages of a conversation: which of them are read leniently, because they are earlier
//! answers.
//!
//! A caller may append an answer's message to the next request as it came. So a value that was
//! passed on to the caller is accepted from the caller. Messages of the roles in [`CALLERS_ROLES`]
//! are written by the caller and read strictly, because a clear error helps there.

use std::{borrow::Cow, cell::RefCell, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{budget::push, mode::Mode, name::Name};
use crate::proto::{bounds::Limit, v1::limits};

/// Roles of messages that are never an answer.
const CALLERS_ROLES: [&str; 3] = ["system", "developer", "user"];

const MESSAGES_MAX: usize = limits::CREATE_CHAT_COMPLETION_REQUEST_MESSAGES.max;

/// For each message of a request, whether it is read leniently.
#[derive(Default)]
pub(super) struct Messages(Vec<bool>);

thread_local! {
    static MESSAGES: RefCell<Messages> = const { RefCell::new(Messages(Vec::new())) };
}

impl Messages {
    /// The messages of this request. Empty if the document is not a request.
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

    /// Calls `work`, in which [`List`] reads these messages leniently.
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

/// Reads which messages of a list may be answers. Those beyond the limit are ignored.
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
            while let Some(Name(name)) = map.next_key()? {
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
    // Names are read leniently, too, so that an unpaired surrogate in one is no error.
    Mode::Lenient
        .during(|| deserializer.deserialize_map(Member(name)))
        .ok()?
}

/// A list of messages, or null for none.
pub(super) struct List<T>(&'static Limit, PhantomData<T>);

impl<T> List<T> {
    pub(super) fn new(limit: &'static Limit) -> Self {
        Self(limit, PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for List<T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
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
