//! TLS from a command to a gateway.

use rustls::ClientConfig;

use super::failure::Failure;
use crate::{
    config::{GatewayTls, HealthPlace, problem_of_pair},
    tls_client::{self, Trust},
};

/// TLS of a client of gRPC.
pub(super) fn of_grpc(options: &GatewayTls) -> Result<ClientConfig, Failure> {
    let mut config = showing(options, trust(options)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// TLS of `featherwire health`. The certificate of the gateway beside this program is not verified:
/// it is for the name that callers use, and not for a loopback address. Kubernetes' probes do the
/// same. The question has no secret, and the answer is one word.
pub(super) fn of_health(place: &HealthPlace) -> Result<ClientConfig, Failure> {
    let trust = match place.is_own() {
        true => Trust::Any,
        false => trust(&place.tls)?,
    };
    showing(&place.tls, trust)
}

/// Which certificates of the gateway are accepted.
fn trust(options: &GatewayTls) -> Result<Trust, Failure> {
    let Some(file) = options.authorities() else {
        return Ok(Trust::Machine);
    };
    let certificates = file.certificates(&file.read()?)?;
    Ok(Trust::Authorities(file.authorities(certificates)?))
}

/// TLS that shows the certificate of the command, if it has one.
fn showing(options: &GatewayTls, trust: Trust) -> Result<ClientConfig, Failure> {
    let Some((cert, key)) = options.pair()? else {
        return Ok(tls_client::config(trust)?.with_no_client_auth());
    };
    let chain = cert.certificates(&cert.read()?)?;
    let private_key = key.private_key(&key.read()?)?;
    let config = tls_client::config(trust)?.with_client_auth_cert(chain, private_key);
    config.map_err(|error| problem_of_pair(&cert, &key, &error).into())
}
