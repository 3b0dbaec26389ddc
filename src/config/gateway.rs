//! The options of the commands that are clients of a gateway.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{address, database::Database, heading, tls_file::TlsFile};

/// The address and the key of a running gateway, for the commands that are its clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::GATEWAY)]
pub struct Gateway {
    /// The gateway's address, with https:// if it has TLS. http:// may be omitted
    #[arg(
        long,
        env = "FEATHERWIRE_GATEWAY",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000",
        value_parser = address::gateway
    )]
    pub gateway: String,

    /// The gateway key to send. Unset: the first key of FEATHERWIRE_API_KEYS
    #[arg(
        long,
        env = "FEATHERWIRE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub api_key: Option<SecretString>,

    #[arg(
        long,
        env = "FEATHERWIRE_API_KEYS",
        hide_env_values = true,
        value_delimiter = ',',
        hide = true
    )]
    api_keys: Vec<SecretString>,

    /// The certificates.
    #[command(flatten)]
    pub tls: GatewayTls,
}

/// The certificates for a gateway with TLS.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::GATEWAY)]
pub struct GatewayTls {
    /// The authorities of the gateway's certificate (PEM), for an address with https://. Unset:
    /// those of this machine
    #[arg(long, env = "FEATHERWIRE_GATEWAY_CA", value_name = "FILE")]
    gateway_ca: Option<PathBuf>,

    /// The certificate to show to a gateway that asks for one (PEM)
    #[arg(long, env = "FEATHERWIRE_GATEWAY_CERT", value_name = "FILE")]
    gateway_cert: Option<PathBuf>,

    /// The private key of --gateway-cert (PEM, not encrypted)
    #[arg(long, env = "FEATHERWIRE_GATEWAY_CERT_KEY", value_name = "FILE")]
    gateway_cert_key: Option<PathBuf>,
}

impl GatewayTls {
    /// The file with the authorities.
    pub(crate) fn authorities(&self) -> Option<TlsFile> {
        TlsFile::new(self.gateway_ca.as_deref(), "--gateway-ca")
    }

    /// The files with the certificate to show and its key.
    ///
    /// # Errors
    /// Only one of them is set.
    pub(crate) fn pair(&self) -> Result<Option<(TlsFile, TlsFile)>, &'static str> {
        let cert = TlsFile::new(self.gateway_cert.as_deref(), "--gateway-cert");
        let key = TlsFile::new(self.gateway_cert_key.as_deref(), "--gateway-cert-key");
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(
                "a certificate is shown together with its private key: set --gateway-cert and \
                 --gateway-cert-key (FEATHERWIRE_GATEWAY_CERT and FEATHERWIRE_GATEWAY_CERT_KEY), \
                 or none of them",
            ),
        }
    }
}

/// Where the commands of administrators work: in the database, or at a running gateway.
#[derive(Args, Clone, Debug)]
pub struct AdminPlace {
    /// The database.
    #[command(flatten)]
    pub database: Database,

    /// Ask the gateway at this address instead of the database, with https:// if it has TLS. http://
    /// may be omitted
    #[arg(
        long,
        value_name = "URL",
        value_parser = address::gateway,
        help_heading = heading::GATEWAY
    )]
    gateway: Option<String>,

    /// The admin key to send to --gateway, which begins with `gw_admin_`. Prefer the variable:
    /// flags are visible in process lists
    #[arg(
        long,
        env = "FEATHERWIRE_ADMIN_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = heading::GATEWAY
    )]
    admin_key: Option<SecretString>,

    /// The certificates for --gateway.
    #[command(flatten)]
    tls: GatewayTls,
}

impl AdminPlace {
    /// The gateway to ask, if not the database.
    pub fn gateway(&self) -> Option<Gateway> {
        self.gateway.clone().map(|gateway| Gateway {
            gateway,
            // A variable that is set and empty is as good as unset.
            api_key: self
                .admin_key
                .clone()
                .filter(|key| !key.expose_secret().trim().is_empty()),
            api_keys: Vec::new(),
            tls: self.tls.clone(),
        })
    }
}

impl Gateway {
    /// The key for the gateway, if there is one.
    pub fn key(&self) -> Option<&SecretString> {
        self.api_key.as_ref().or(self.api_keys.first())
    }
}
