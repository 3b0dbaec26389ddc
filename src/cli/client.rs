//! The gRPC client for the commands that talk to a running gateway.

use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use secrecy::ExposeSecret;

use super::failure::Failure;
use crate::config::Gateway;

/// The largest message that is accepted from the gateway: a page of models, or an answer with
/// audio.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Adds the gateway key to each call.
#[derive(Clone)]
pub struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// Connects to the gateway.
pub async fn connect(gateway: &Gateway) -> Result<(Channel, Key), Failure> {
    let address = &gateway.gateway;
    let endpoint = Endpoint::from_shared(address.clone()).map_err(|_| {
        format!("{address} is not a URL: expected one such as http://127.0.0.1:8000")
    })?;
    let channel = endpoint.tcp_nodelay(true).connect().await.map_err(|_| {
        format!(
            "no gateway at {address}: start one (`featherwire serve --emulator`), or set its \
             address (--gateway, or FEATHERWIRE_GATEWAY)"
        )
    })?;
    let key = gateway.key().map(|key| {
        let mut value = MetadataValue::try_from(format!("Bearer {}", key.expose_secret()))?;
        value.set_sensitive(true);
        Ok(Key(Some(value)))
    });
    let key = key.unwrap_or(Ok(Key(None)));
    Ok((
        channel,
        key.map_err(|_: tonic::metadata::errors::InvalidMetadataValue| {
            "the gateway key has a character that a header cannot contain (--api-key, or \
             FEATHERWIRE_API_KEY)"
        })?,
    ))
}

/// The error of the gateway as a sentence, with its code and its help page.
pub fn failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.to_lowercase());
    let help = details
        .help()
        .and_then(|help| help.links.first())
        .map(|link| format!("\n  see {}", link.url));
    if reason.is_none() && matches!(status.code(), Code::Unknown | Code::Unavailable) {
        return Failure::failed(
            "the connection to the gateway was lost before the answer was complete: check that the \
             gateway is running, and try again",
        );
    }
    let name = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    if status.code() == Code::Unauthenticated {
        return Failure::failed(format_args!(
            "the gateway requires one of its keys: set --api-key or FEATHERWIRE_API_KEY ({name})"
        ));
    }
    Failure::failed(format_args!(
        "{} ({name}){}",
        status.message(),
        help.unwrap_or_default()
    ))
}

/// The error of a gateway that was asked by an administrator.
pub fn admin_failure(status: Status) -> Failure {
    if status.code() == Code::Unauthenticated {
        return Failure::failed(
            "the gateway requires an admin key, which begins with gw_admin_: set \
             FEATHERWIRE_ADMIN_KEY (--admin-key). `featherwire keys create --admin admin --name \
             NAME` on the gateway's database creates the first one",
        );
    }
    failure(&status)
}
