//! JSON text that is written as it is.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The name by which [`writer`](super::writer) knows a [`Verbatim`].
pub(super) const VERBATIM: &str = "featherwire::json::Verbatim";

/// JSON text that is written as it is, by serde_json too.
pub(super) struct Verbatim<'a>(pub(super) &'a RawValue);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(VERBATIM, self.0)
    }
}
