//! The limits of reading a JSON document: the lengths of lists and the budget of `proto::bounds`,
//! counted while the document is read.

use std::{cell::Cell, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::name::Name;
use crate::proto::bounds::{DEPTH_MAX, Limit, TooLarge, entry, structure_bytes_max};

thread_local! {
    // serde can hand an argument to a nested `Deserialize` only with a seed for every type.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    static MAX: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Something was too large. That is an error also where a document is read leniently.
    static IS_EXCEEDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work`, which reads a document of `document_bytes` bytes, within the limits.
pub(super) fn with_budget<T>(document_bytes: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(usize, usize, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT.set(self.0);
            MAX.set(self.1);
            IS_EXCEEDED.set(self.2);
        }
    }
    let max = structure_bytes_max(document_bytes);
    let _restore = Restore(
        LEFT.replace(max),
        MAX.replace(max),
        IS_EXCEEDED.replace(false),
    );
    work()
}

/// Whether something was too large in the document that is being read.
pub(super) fn is_exceeded() -> bool {
    IS_EXCEEDED.get()
}

fn exceeded<E: Error>(what: TooLarge) -> E {
    IS_EXCEEDED.set(true);
    E::custom(what)
}

/// Counts `bytes` of memory before they are allocated.
pub(super) fn charge<E: Error>(bytes: usize) -> Result<(), E> {
    match LEFT.get().checked_sub(bytes) {
        Some(left) => {
            LEFT.set(left);
            Ok(())
        }
        None => Err(exceeded(TooLarge::Structure(MAX.get()))),
    }
}

/// Adds an element to a list.
pub(super) fn push<T, E: Error>(list: &mut Vec<T>, limit: &Limit, element: T) -> Result<(), E> {
    if list.len() >= limit.max {
        return Err(exceeded(TooLarge::List(*limit)));
    }
    charge(size_of::<T>())?;
    if list.capacity() == 0 && size_of::<T>() > size_of::<String>() {
        // Lists of one or two are the most frequent ones. `push` would allocate room for four.
        list.reserve_exact(2);
    }
    list.push(element);
    Ok(())
}

/// Adds an entry to a map.
pub(super) fn insert<V, E: Error>(
    map: &mut BTreeMap<String, V>,
    limit: &Limit,
    name: String,
    value: V,
) -> Result<(), E> {
    let taken = if map.is_empty() {
        const { entry::<V>().first }
    } else {
        const { entry::<V>().next }
    };
    if map.insert(name, value).is_some() {
        return Ok(());
    }
    if map.len() > limit.max {
        return Err(exceeded(TooLarge::List(*limit)));
    }
    charge(taken)
}

/// JSON text of any value that is not nested too deeply.
pub(super) struct Text<'a>(pub &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::within_depth(<&RawValue>::deserialize(deserializer)?.get())
    }
}

impl<'a> Text<'a> {
    /// This text, if it is not nested too deeply.
    pub(super) fn within_depth<E: Error>(text: &'a str) -> Result<Self, E> {
        if is_too_deep(text) {
            Err(exceeded(TooLarge::Depth))
        } else {
            Ok(Self(text))
        }
    }
}

/// Whether valid JSON text is nested too deeply.
pub(super) fn is_too_deep(text: &str) -> bool {
    // Each level takes two brackets.
    if text.len() < 2 * DEPTH_MAX {
        return false;
    }
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads a list within its limit.
pub(super) struct ListOf<'a, T>(pub &'a Limit, pub PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for ListOf<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOf<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    // Inlined into the reader of each message with a list, it makes the others slower: 220
    // instructions for a chunk.
    #[inline(never)]
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            push(&mut elements, self.0, element)?;
        }
        Ok(elements)
    }
}

/// What a seed reads, or null for none.
pub(super) struct OrNull<S>(pub S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OrNull<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for OrNull<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// A map of at most `MAX` entries.
pub(crate) struct Entries<V, const MAX: usize>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Entries<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<V, const MAX: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Read<V, MAX> {
            type Value = Entries<V, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    let value = map.next_value()?;
                    insert(
                        &mut entries,
                        &Limit {
                            max: MAX,
                            of: "entries",
                        },
                        name.0.into_owned(),
                        value,
                    )?;
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read(PhantomData))
    }
}

/// A list of at most `MAX` values as JSON text, which can be read later.
pub(crate) struct RawList<'a, const MAX: usize>(pub Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for RawList<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ListOf(
            &Limit {
                max: MAX,
                of: "elements",
            },
            PhantomData,
        )
        .deserialize(deserializer)
        .map(RawList)
    }
}
