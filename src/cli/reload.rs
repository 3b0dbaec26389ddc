//! The signal to read the configuration again: SIGHUP. `.env`, the configuration file and the files
//! of secrets and certificates are read again. The arguments and the environment stay as they were
//! at the start. If anything is wrong, nothing changes.

use std::collections::BTreeMap;

use clap::{ArgMatches, FromArgMatches};

use super::{
    Cli, Command,
    config::check,
    effective::{self, Effective},
    failure::Failure,
    inputs::Inputs,
    log_filter, usage_error,
};
use crate::{
    config::{Account, LIVE, Live, Logging, Serve, Sources},
    keys::Digest,
    server::tls::Reload,
    telemetry,
};

/// The member of the configuration file with the accounts. They need a restart.
const ACCOUNTS: &str = "account";

/// Digests of the values of options, which may be secret, by their members of the configuration
/// file.
type Digests = BTreeMap<String, Digest>;

/// Reads the configuration again.
#[derive(Debug)]
pub(super) struct Reloader {
    inputs: Inputs,
    live: Live,
    certificates: Reload,
    /// The options that are in use.
    in_use: Digests,
}

/// A configuration that was read and is valid.
struct Read {
    config: Serve,
    logging: Logging,
    values: Digests,
    warnings: Vec<String>,
}

impl Reloader {
    /// For a gateway that was started with these options, and that takes over changes of `live`.
    pub(super) fn new(
        inputs: Inputs,
        sources: &Sources,
        matches: &ArgMatches,
        live: Live,
        certificates: Reload,
    ) -> Self {
        let options = effective::options(&inputs, sources, matches);
        Self {
            in_use: by_member(options, &sources.accounts().unwrap_or_default()),
            inputs,
            live,
            certificates,
        }
    }

    /// Reads the configuration again at each signal. Never completes.
    pub(super) async fn at_signals(mut self, mut hangups: Hangups) {
        loop {
            hangups.next().await;
            // Files may be on a slow disk.
            let reloading = tokio::task::spawn_blocking(move || {
                self.reload();
                self
            });
            self = match reloading.await {
                Ok(reloader) => reloader,
                Err(error) => {
                    tracing::error!(%error, "SIGHUP: the configuration cannot be read again");
                    return std::future::pending().await;
                }
            };
        }
    }

    /// Reads all again and takes over what is live, or nothing.
    fn reload(&mut self) {
        let Read {
            config,
            logging,
            values,
            warnings,
        } = match self.read().and_then(|read| {
            self.certificates.reload_now()?;
            Ok(read)
        }) {
            Ok(read) => read,
            Err(problem) => {
                self.live.status().record_failure();
                tracing::error!(
                    problem,
                    "SIGHUP: the configuration is not valid, so nothing changes"
                );
                return;
            }
        };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let changed = values
            .into_iter()
            .filter(|(member, values)| self.in_use.get(member) != Some(values));
        let (live, at_restart): (Vec<_>, Vec<_>) =
            changed.partition(|(member, _)| LIVE.contains(&member.as_str()));
        let names = |changed: &[(String, Digest)]| {
            let names: Vec<_> = changed.iter().map(|(member, _)| member.as_str()).collect();
            names.join(", ")
        };
        if !at_restart.is_empty() {
            tracing::warn!(
                options = names(&at_restart),
                "SIGHUP: options have changed that need a restart, and keep their old value"
            );
        }
        self.live.status().record_success();
        if live.is_empty() {
            return tracing::info!(
                "SIGHUP: the configuration was read again, and no option changes"
            );
        }
        let changed = names(&live);
        self.live.set(config);
        // Before and after, so that a log that is turned on or off tells it.
        let report = || tracing::info!(changed, "SIGHUP: the configuration was read again");
        let is_told = tracing::enabled!(tracing::Level::INFO);
        if is_told {
            report();
        }
        telemetry::change(log_filter(&logging, true), logging.log_format);
        if !is_told {
            report();
        }
        self.in_use.extend(live);
    }

    /// Reads all again, and checks it.
    ///
    /// # Errors
    /// What is wrong, without values.
    fn read(&self) -> Result<Read, String> {
        let sources = self.inputs.read()?;
        let matches = self.inputs.parse(&sources).map_err(sentence)?;
        let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
        let (mut cli, matches) = parsed.map_err(|error| {
            let definition = &self.inputs.definition;
            usage_error::bad_value(&error, definition, &sources)
                .unwrap_or_else(|| usage_error::plain(&error))
        })?;
        cli.command.take_accounts(&sources)?;
        let Command::Serve(config) = cli.command else {
            return Err("the command is not `featherwire serve`".to_owned());
        };
        check(&config).map_err(sentence)?;
        let mut warnings = sources.warnings(&self.inputs.names);
        warnings.extend(config.tls.warnings());
        let options = effective::options(&self.inputs, &sources, &matches);
        Ok(Read {
            values: by_member(options, &config.accounts),
            config: *config,
            logging: cli.logging,
            warnings,
        })
    }
}

fn by_member(options: Vec<Effective>, accounts: &[Account]) -> Digests {
    let digests = options.into_iter().map(|option| {
        // No value contains NUL.
        let values = option.values.iter().map(|value| format!("{value}\0"));
        let text: String = values.collect();
        (option.setting.member, Digest::of(text.as_bytes()))
    });
    let accounts: String = accounts.iter().map(Account::fingerprint).collect();
    let accounts = (ACCOUNTS.to_owned(), Digest::of(accounts.as_bytes()));
    digests.chain([accounts]).collect()
}

fn sentence(failure: Failure) -> String {
    match failure {
        Failure::Failed(sentence) | Failure::Usage(sentence) => sentence,
        Failure::OutputClosed => String::new(),
    }
}

/// The signals SIGHUP since this was made. Without it, the signal ends the process.
pub(super) struct Hangups(
    /// `None` if the system does not deliver it to this process.
    #[cfg(unix)]
    Option<tokio::signal::unix::Signal>,
);

impl Hangups {
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::hangup()).ok())
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
    }

    /// There is no such signal.
    #[cfg(not(unix))]
    pub(super) fn listen() -> Self {
        Self()
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::{AT_RESTART, Setting};

    #[test]
    fn every_option_of_serve_either_changes_while_it_runs_or_needs_a_restart() {
        let root = Cli::command();
        let serve = root.find_subcommand("serve").unwrap();
        let args = serve.get_arguments().chain(root.get_arguments());
        let mut options: Vec<_> = args
            .filter_map(Setting::of)
            .map(|setting| setting.member)
            .collect();
        options.sort_unstable();
        let mut listed = [&LIVE[..], &AT_RESTART[..]].concat();
        listed.sort_unstable();
        assert_eq!(options, listed);
    }
}
