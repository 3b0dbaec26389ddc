//! Makes a [`Call`] from an HTTP request: from its headers, and from the extensions that earlier
//! layers have added.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{
    error::{Error, Result},
    service::Call,
};

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::new(&parts.headers, &parts.extensions)
    }
}
