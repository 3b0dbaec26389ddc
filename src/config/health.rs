//! The options of `featherwire health`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;

use super::{address, gateway::GatewayTls, heading, values::switch};

/// The gateway whose health is asked for: by default the one that the same options configure.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::GATEWAY)]
pub struct HealthPlace {
    /// The gateway's address, with https:// if it has TLS. http:// may be omitted. Unset: this
    /// machine, at the port of FEATHERWIRE_ADMIN_LISTEN, FEATHERWIRE_LISTEN or 8000
    #[arg(
        long,
        env = "FEATHERWIRE_GATEWAY",
        value_name = "URL",
        value_parser = address::gateway
    )]
    gateway: Option<String>,

    /// The certificates for --gateway.
    #[command(flatten)]
    pub tls: GatewayTls,

    // The gateway's own options, by which it is found.
    #[arg(
        long,
        env = "FEATHERWIRE_LISTEN",
        default_value = "127.0.0.1:8000",
        value_parser = address::address,
        hide = true
    )]
    listen: SocketAddr,

    #[arg(
        long,
        env = "FEATHERWIRE_ADMIN_LISTEN",
        value_parser = address::address,
        hide = true
    )]
    admin_listen: Option<SocketAddr>,

    #[arg(long, env = "FEATHERWIRE_TLS_CERT", hide = true)]
    tls_cert: Option<PathBuf>,

    #[arg(long, env = "FEATHERWIRE_ADMIN_TLS_CERT", hide = true)]
    admin_tls_cert: Option<PathBuf>,

    #[arg(
        long,
        env = "FEATHERWIRE_ADMIN_WITHOUT_TLS",
        value_parser = switch,
        hide = true
    )]
    admin_without_tls: bool,
}

impl HealthPlace {
    /// The URL of the gateway, without a path.
    pub fn url(&self) -> String {
        let own = || {
            let (listen, has_tls) = self.own();
            let scheme = if has_tls { "https" } else { "http" };
            format!("{scheme}://{}", reachable(listen))
        };
        self.gateway.clone().unwrap_or_else(own)
    }

    /// Whether it is the gateway beside this program, which was not named. The certificate of that
    /// one is for the name that callers use.
    pub fn is_own(&self) -> bool {
        self.gateway.is_none()
    }

    /// The listener to ask, and whether it has TLS. That of the administration comes first, because
    /// it may ask for no certificates where the other one does.
    fn own(&self) -> (SocketAddr, bool) {
        match self.admin_listen {
            Some(listen) => {
                let has_cert = self.tls_cert.is_some() || self.admin_tls_cert.is_some();
                (listen, has_cert && !self.admin_without_tls)
            }
            None => (self.listen, self.tls_cert.is_some()),
        }
    }
}

/// Where a listener can be reached from this machine: one for all addresses of the machine has no
/// address to connect to.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}
