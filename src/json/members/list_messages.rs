//! Messages that are nothing but a list, which is the whole JSON value.

use std::marker::PhantomData;

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed},
};

use super::{
    integers::{IntegerField, IntegerList, Integers},
    lists::List,
    scalars::Number,
};
use crate::{json::budget::ListOf, proto::bounds::Limit};

/// How such a list is read and written.
pub(crate) trait WholeList<T> {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error>;

    fn write<S: Serializer>(self, list: &[T], serializer: S) -> Result<S::Ok, S::Error>;
}

impl<T: Serialize + DeserializeOwned> WholeList<T> for List {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        ListOf(self.0, PhantomData).deserialize(deserializer)
    }

    fn write<S: Serializer>(self, list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        list.serialize(serializer)
    }
}

impl<T: IntegerField> WholeList<T> for Integers {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        IntegerList::new(self.0).deserialize(deserializer)
    }

    fn write<S: Serializer>(self, list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        list.serialize(serializer)
    }
}

/// A list of doubles.
pub(crate) struct Doubles(pub &'static Limit);

impl WholeList<f64> for Doubles {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<f64>, D::Error> {
        List(self.0).read(deserializer)
    }

    fn write<S: Serializer>(self, list: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|number| Number(*number)))
    }
}
