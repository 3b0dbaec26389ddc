//! `featherwire emulator`: the Featherless API on this machine.

use std::{fmt::Write, net::SocketAddr, process::ExitCode};

use clap::{Args, builder::StyledStr};
use tokio::net::TcpListener;

use super::{Failure, signal};
use crate::{
    config::EmulatorPace,
    emulator::{self, EmulatorConfig, FAULTS},
};

/// Runs the Featherless API on this machine: its endpoints, its strictness, its concurrency units, without its models.
#[derive(Args, Debug)]
#[command(after_help = faults())]
pub struct Emulator {
    /// Address and port to listen on
    #[arg(long, env = "FEATHERWIRE_EMULATOR_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8001", value_parser = crate::config::address)]
    listen: SocketAddr,

    #[command(flatten)]
    pace: EmulatorPace,
}

impl Emulator {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| format!("can't listen on {}: {error}; choose another with --listen", self.listen))?;
        let address = listener.local_addr()?;
        eprintln!("Featherless emulator on http://{address}/v1, any key will do");
        eprintln!("  to use it: FEATHERLESS_BASE_URL=http://{address}/v1 FEATHERLESS_API_KEY=any featherwire serve");
        emulator::serve(listener, config(&self.pace), signal::shutdown()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The emulator's configuration from the command line's.
pub fn config(pace: &EmulatorPace) -> EmulatorConfig {
    EmulatorConfig {
        tokens_per_second: pace.tokens_per_second,
        units: (pace.emulator_units > 0).then_some(pace.emulator_units),
        seed: pace.emulator_seed,
        models: pace.emulator_models,
        api_key: None,
    }
}

fn faults() -> StyledStr {
    let width = FAULTS.iter().map(|fault| fault.model.len()).max().unwrap_or_default();
    let mut help = String::from("Models that fail on demand, like the test cards of a payment API:\n");
    for fault in FAULTS {
        // Writing to a String can't fail.
        let _ = writeln!(help, "  {:width$}  {}", fault.model, fault.what);
    }
    StyledStr::from(help)
}
