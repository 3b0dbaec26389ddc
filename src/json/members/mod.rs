//! The kinds of members that messages have: how a JSON value is read into its field, and how the
//! field is written as JSON. The generated code names one for each member.
//!
//! For all kinds: null is the same as absence, unless the kind says otherwise. A member of an
//! unexpected type is kept in `extra` in an answer. A member may come twice, as JSON allows: the
//! last one counts, and a list replaces the list before.

mod constant;
mod enums;
mod integers;
mod json_text;
mod kind;
mod list_messages;
mod lists;
mod maps;
mod messages;
mod prompt_lists;
mod scalars;
mod text_or_list;
mod unions;

pub(crate) use self::{
    constant::Constant,
    enums::{Enum, unknown_enum_value},
    integers::{Bytes, Index, Integer, IntegerOrNull, Integers},
    json_text::{JsonObjectText, JsonText},
    kind::{Read, Reader, Write, Writer},
    list_messages::{Doubles, WholeList},
    lists::{List, OneOrMany, Required},
    maps::{DoubleMap, StringMap},
    messages::{BoxedMessage, HistoryMessages, Message, MessageWithNulls, Messages},
    prompt_lists::PromptLists,
    scalars::{Scalar, Text},
    text_or_list::{Null, TextOrList},
    unions::{TextOrLists, TextOrObject, Union, read_union},
};
