//! What the gateway must know of a request that a model answers.

use serde::{Serialize, de::DeserializeOwned};

/// A request that a model answers, as it is sent upstream.
pub trait ModelRequest: Serialize + DeserializeOwned + Send + 'static {
    /// The path below the upstream's base URL.
    const PATH: &'static [&'static str];

    /// Whether another model may answer instead. Texts of two models mean the same; vectors of two
    /// models do not.
    const MAY_FALL_BACK: bool;

    /// The requested model.
    fn model(&mut self) -> &mut String;

    /// How many choices the answer must have.
    fn choices(&self) -> usize;
}
