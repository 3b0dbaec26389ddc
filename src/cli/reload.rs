//! The signal to read the configuration again: SIGHUP. `.env`, the configuration file and the files
//! of secrets and certificates are read again. The arguments and the environment stay as they were at the start. If
//! anything is wrong, nothing changes.

use std::{collections::BTreeMap, future::Future};

use clap::{ArgMatches, FromArgMatches};

use super::{
    Cli, Command,
    effective::{self, Effective},
    failure::Failure,
    inputs::Inputs,
    log_filter, usage_error,
};
use crate::{
    config::{LIVE, Live, Logging, Serve, Sources},
    server::{self, tls::Reload},
    telemetry,
};

/// Reads the configuration again.
#[derive(Debug)]
pub(super) struct Reloader {
    inputs: Inputs,
    live: Live,
    certificates: Reload,
    /// The values of the options that are in use, by their members of the configuration file.
    in_use: BTreeMap<String, Vec<String>>,
}

/// A configuration that was read and is valid.
struct Read {
    config: Serve,
    logging: Logging,
    values: BTreeMap<String, Vec<String>>,
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
        Self {
            in_use: by_member(effective::options(&inputs, sources, matches)),
            inputs,
            live,
            certificates,
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
        let names = |changed: &[(String, Vec<String>)]| {
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
            tracing::info!("SIGHUP: the configuration was read again, and nothing changes");
            return;
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
        let (cli, matches) = parsed.map_err(|error| {
            let definition = &self.inputs.definition;
            usage_error::bad_value(&error, definition, &sources)
                .unwrap_or_else(|| "the options contradict each other".to_owned())
        })?;
        let Command::Serve(config) = cli.command else {
            return Err("the command is not `featherwire serve`".to_owned());
        };
        config.check()?;
        server::check(&config).map_err(|error| error.to_string())?;
        Ok(Read {
            config: *config,
            logging: cli.logging,
            values: by_member(effective::options(&self.inputs, &sources, &matches)),
            warnings: sources.warnings().cloned().collect(),
        })
    }
}

fn by_member(options: Vec<Effective>) -> BTreeMap<String, Vec<String>> {
    let values = options
        .into_iter()
        .map(|option| (option.setting.member, option.values));
    values.collect()
}

fn sentence(failure: Failure) -> String {
    match failure {
        Failure::Failed(sentence) | Failure::Usage(sentence) => sentence,
        Failure::OutputClosed => String::new(),
    }
}

/// Reads the configuration again at each SIGHUP after this call. The future never completes.
#[cfg(unix)]
pub(super) fn at_signals(mut reloader: Reloader) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::hangup());
    async move {
        let Ok(mut signals) = signals else {
            // The system does not deliver it to this process.
            return std::future::pending().await;
        };
        while signals.recv().await.is_some() {
            // Files may be on a slow disk.
            let reloading = tokio::task::spawn_blocking(move || {
                reloader.reload();
                reloader
            });
            reloader = match reloading.await {
                Ok(reloader) => reloader,
                Err(error) => {
                    tracing::error!(%error, "SIGHUP: the configuration cannot be read again");
                    return std::future::pending().await;
                }
            };
        }
    }
}

/// There is no such signal.
#[cfg(not(unix))]
pub(super) async fn at_signals(_: Reloader) {
    std::future::pending().await
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
