//! The gRPC client for the commands that talk to a running gateway.

use std::{io, sync::Arc};

use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use tower::service_fn;

use secrecy::ExposeSecret;

use super::{
    client_tls,
    failure::Failure,
    gateway_stream::{self, GatewayStream},
    printable,
};
use crate::{config::Gateway, ledger::KeysNamedError};

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

/// What errors call the options for the gateway and its key.
struct OptionNames {
    gateway: &'static str,
    key: &'static str,
}

const OF_CALLERS: OptionNames = OptionNames {
    gateway: "--gateway, or FEATHERWIRE_GATEWAY",
    key: "--api-key, or FEATHERWIRE_API_KEY",
};

const OF_ADMINISTRATORS: OptionNames = OptionNames {
    gateway: "--gateway",
    key: "FEATHERWIRE_ADMIN_KEY, or --admin-key",
};

/// Connects to the gateway as a caller.
pub async fn connect(gateway: &Gateway) -> Result<(Channel, Key), Failure> {
    connect_with(gateway, &OF_CALLERS).await
}

/// Connects to the gateway as an administrator.
pub async fn connect_as_admin(gateway: &Gateway) -> Result<(Channel, Key, AdminErrors), Failure> {
    let (channel, key) = connect_with(gateway, &OF_ADMINISTRATORS).await?;
    let has_key = key.0.is_some();
    Ok((channel, key, AdminErrors { has_key }))
}

async fn connect_with(gateway: &Gateway, options: &OptionNames) -> Result<(Channel, Key), Failure> {
    let address = &gateway.gateway;
    let url: Uri = address.parse().map_err(|_| {
        format!("{address} is not a URL: expected one such as http://127.0.0.1:8000")
    })?;
    let tls = match url.scheme() == Some(&Scheme::HTTPS) {
        true => Some(Arc::new(client_tls::of_grpc(&gateway.tls)?)),
        false => None,
    };
    let endpoint = endpoint(&url)?;
    let connector = service_fn(move |_| {
        let (url, tls) = (url.clone(), tls.clone());
        async move {
            let stream = GatewayStream::connect(&url, tls).await?;
            match stream.has_http2() {
                true => Ok(TokioIo::new(stream)),
                false => Err(io::Error::other("there is no HTTP/2")),
            }
        }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|_| match gateway_stream::problem() {
        Some(problem) => format!("no connection to the gateway at {address}: {problem}"),
        None => format!(
            "no gateway at {address}: start one (`featherwire serve --emulator`), or set its \
             address ({})",
            options.gateway
        ),
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
            format!(
                "the gateway key has a character that a header cannot contain ({})",
                options.key
            )
        })?,
    ))
}

/// The endpoint at `url`, whose connector does the TLS. tonic refuses that for a URL with `https`, so
/// only the requests have it.
fn endpoint(url: &Uri) -> Result<Endpoint, Failure> {
    let mut parts = url.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    let endpoint = Endpoint::from(Uri::from_parts(parts)?);
    Ok(endpoint.origin(url.clone()))
}

/// The error of the gateway as a sentence, with its code and its help page.
pub fn failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.to_lowercase());
    let help = details
        .help()
        .and_then(|help| help.links.first())
        .map(|link| format!("\n  see {}", link.url));
    let is_lost = matches!(
        status.code(),
        Code::Unknown | Code::Unavailable | Code::Cancelled
    );
    if reason.is_none() && is_lost {
        if let Some(problem) = gateway_stream::problem() {
            return Failure::failed(format_args!("no answer from the gateway: {problem}"));
        }
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
    let sentence = format!("{} ({name}){}", status.message(), help.unwrap_or_default());
    // It may repeat a text of the upstream.
    Failure::failed(printable::text(&sentence))
}

/// What the errors of a gateway mean for an administrator.
#[derive(Clone, Copy, Debug)]
pub struct AdminErrors {
    /// Whether a key is sent.
    has_key: bool,
}

impl AdminErrors {
    /// The error of the gateway.
    pub fn of(self, status: &Status) -> Failure {
        if status.code() != Code::Unauthenticated {
            return failure(status);
        }
        if self.has_key {
            return Failure::failed(format_args!(
                "{}\n  the key that was sent is that of FEATHERWIRE_ADMIN_KEY (--admin-key)",
                status.message()
            ));
        }
        Failure::failed(
            "there is no admin key, which the gateway requires and which begins with gw_admin_: set \
             FEATHERWIRE_ADMIN_KEY (--admin-key). `featherwire keys create --admin admin --name \
             NAME` on the gateway's database creates the first one",
        )
    }

    /// The error of the gateway for a call that names keys by these ids or names.
    pub fn of_named(self, status: &Status, names: &[String]) -> Failure {
        let is_unknown = |name: &&String| status.message().contains(&format!("{name:?}"));
        match names.iter().find(is_unknown) {
            Some(name) if status.code() == Code::NotFound => {
                KeysNamedError::Unknown(name.clone()).into()
            }
            _ => self.of(status),
        }
    }

    /// The error of the gateway for a call with the settings of a key.
    pub fn of_settings(self, status: &Status, names: &[String]) -> Failure {
        if status.code() == Code::InvalidArgument {
            return Failure::Usage(status.message().to_owned());
        }
        self.of_named(status, names)
    }
}
