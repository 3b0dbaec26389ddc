//! The options of `featherwire health`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::{address, heading};

/// The gateway whose health is asked for: by default the one that the same variables configure.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::GATEWAY)]
pub struct HealthPlace {
    /// The gateway's address. http:// may be omitted. Unset: this machine, at the port of
    /// FEATHERWIRE_LISTEN or 8000
    #[arg(
        long,
        env = "FEATHERWIRE_GATEWAY",
        value_name = "URL",
        value_parser = address::gateway
    )]
    gateway: Option<String>,

    #[arg(
        long,
        env = "FEATHERWIRE_LISTEN",
        default_value = "127.0.0.1:8000",
        value_parser = address::address,
        hide = true
    )]
    listen: SocketAddr,
}

impl HealthPlace {
    /// The URL of the gateway, without a path.
    pub fn url(&self) -> String {
        let own = || format!("http://{}", reachable(self.listen));
        self.gateway.clone().unwrap_or_else(own)
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
