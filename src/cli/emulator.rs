//! `featherwire emulator`: runs the Featherless API on this machine.

use std::{fmt::Write, net::SocketAddr, process::ExitCode};

use clap::{Args, builder::StyledStr};

use super::{failure::Failure, listen, output, shutdown_signal};
use crate::{
    config::{EmulatorOptions, heading},
    descriptors,
    emulator::{self, EmulatorConfig, FAULTS, SWITCHES},
};

/// The width of the help text, which fits into the narrowest usual terminal.
const HELP_COLUMNS: usize = 80;

/// Runs an emulation of the Featherless API on this machine: the same endpoints, checks and
/// concurrency units, with generated text.
#[derive(Args, Debug)]
#[command(after_help = faults())]
pub struct Emulator {
    /// Address and port to listen on
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8001",
        value_parser = crate::config::address,
        help_heading = heading::LISTENING
    )]
    listen: SocketAddr,

    #[command(flatten)]
    options: EmulatorOptions,
}

impl Emulator {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        descriptors::raise_limit();
        let listener = listen::bind(self.listen, "--listen", "FEATHERWIRE_EMULATOR_LISTEN").await?;
        let address = listener.local_addr()?;
        output::tell(format_args!(
            "Featherless emulator on http://{address}/v1 (any key is accepted)\n  to use it: \
             FEATHERLESS_BASE_URL=http://{address}/v1 FEATHERLESS_API_KEY=any featherwire serve\n"
        ));
        emulator::serve(listener, config(&self.options), shutdown_signal::shutdown()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The configuration of the emulator, from that of the command line.
pub fn config(options: &EmulatorOptions) -> EmulatorConfig {
    EmulatorConfig {
        tokens_per_second: options.tokens_per_second,
        units: (options.emulator_units > 0).then_some(options.emulator_units),
        seed: options.emulator_seed,
        models: options.emulator_models,
        api_key: None,
        warm_after: options.emulator_warm_after,
        release_after: options.emulator_release_after,
        switches: options.emulator_switches.clone(),
    }
}

const ABOUT_FAULTS: &str = "\
Models that fail on demand, like the test cards of a payment API. Suffixes that
any of these names can have, in any order:
  -then-ok         the first attempt fails, the second succeeds
  -x3-then-ok      the first three attempts fail
  -after-90s       nothing is sent for 90 s (ms, s or m)
  -retry-after-5   an error has the header Retry-After: 5
";

const ABOUT_SWITCHES: &str = "\
--emulator-switch sets the faults that no model's name can select. To set them
while the emulator runs:
  curl -X PUT http://127.0.0.1:8001/emulator/switches/feed -d ping
units=N (or none) changes the plan's concurrency units.
";

fn faults() -> StyledStr {
    let mut help = String::from(ABOUT_FAULTS);
    for group in FAULTS.chunk_by(|one, next| one.group == next.group) {
        let title = group
            .first()
            .map(|fault| fault.group.title())
            .unwrap_or_default();
        add_table(
            &mut help,
            title,
            group.iter().map(|fault| (fault.model, fault.effect)),
        );
    }
    help.push('\n');
    help.push_str(ABOUT_SWITCHES);
    for switch in SWITCHES.chunk_by(|one, next| one.name == next.name) {
        let name = switch.first().map(|value| value.name).unwrap_or_default();
        add_table(
            &mut help,
            &format!("{name}="),
            switch.iter().map(|value| (value.value, value.effect)),
        );
    }
    StyledStr::from(help)
}

/// Adds a headline and a table of two columns. Text that does not fit into the second column
/// continues below it.
fn add_table(
    help: &mut String,
    title: &str,
    rows: impl Iterator<Item = (&'static str, &'static str)> + Clone,
) {
    let width = rows
        .clone()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let indent = width + 4;
    // Writing to a String can't fail.
    let _ = writeln!(help, "\n{title}:");
    for (name, effect) in rows {
        let _ = write!(help, "  {name:width$} ");
        let mut column = indent - 1;
        for word in effect.split(' ') {
            if column + 1 + word.chars().count() > HELP_COLUMNS {
                let _ = write!(help, "\n{:1$}", "", indent - 1);
                column = indent - 1;
            }
            let _ = write!(help, " {word}");
            column += 1 + word.chars().count();
        }
        help.push('\n');
    }
}
