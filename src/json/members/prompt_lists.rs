//! The lists that a prompt can be: of strings, of token ids, or of lists of token ids.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::integers::{Element, IntegerField, IntegerList, from_double, out_of_range};
use crate::{json::budget::push, proto::v1::limits};

/// Several texts, as strings or as token ids. The type of the first element tells the variant.
pub(crate) enum PromptLists {
    Strings(Vec<String>),
    Tokens(Vec<i32>),
    TokenLists(Vec<Vec<i32>>),
}

impl<'de> Deserialize<'de> for PromptLists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = PromptLists;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PromptLists, A::Error> {
                let mut lists = match list.next_element()? {
                    None => return Ok(PromptLists::Strings(Vec::new())),
                    Some(FirstElement::String(text)) => PromptLists::Strings(vec![text]),
                    Some(FirstElement::Token(token)) => PromptLists::Tokens(vec![token]),
                    Some(FirstElement::Tokens(tokens)) => PromptLists::TokenLists(vec![tokens]),
                };
                // All elements must have the type of the first one.
                match &mut lists {
                    PromptLists::Strings(strings) => {
                        while let Some(text) = list.next_element()? {
                            push(strings, &limits::STRING_LIST_VALUES, text)?;
                        }
                    }
                    PromptLists::Tokens(tokens) => {
                        while let Some(Element(token)) = list.next_element()? {
                            push(tokens, &limits::TOKEN_LIST_VALUES, token)?;
                        }
                    }
                    PromptLists::TokenLists(token_lists) => {
                        while let Some(tokens) =
                            list.next_element_seed(IntegerList::new(&limits::TOKEN_LIST_VALUES))?
                        {
                            push(token_lists, &limits::TOKEN_LISTS_VALUES, tokens)?;
                        }
                    }
                }
                Ok(lists)
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

enum FirstElement {
    String(String),
    Token(i32),
    Tokens(Vec<i32>),
}

impl<'de> Deserialize<'de> for FirstElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = FirstElement;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a token id or a list of token ids")
            }

            fn visit_str<E>(self, text: &str) -> Result<FirstElement, E> {
                Ok(FirstElement::String(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, token: i64) -> Result<FirstElement, E> {
                let id = i32::try_from(token);
                id.map(FirstElement::Token)
                    .map_err(|_| out_of_range::<i32, E>(token < 0, i32::EXPECTED))
            }

            fn visit_u64<E: Error>(self, token: u64) -> Result<FirstElement, E> {
                self.visit_i64(i64::try_from(token).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: Error>(self, token: f64) -> Result<FirstElement, E> {
                from_double(token, i32::EXPECTED).map(FirstElement::Token)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<FirstElement, A::Error> {
                let list = SeqAccessDeserializer::new(list);
                IntegerList::new(&limits::TOKEN_LIST_VALUES)
                    .deserialize(list)
                    .map(FirstElement::Tokens)
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}
