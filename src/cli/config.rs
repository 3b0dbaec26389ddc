//! `featherwire config`: checks and shows the configuration of `featherwire serve`.

use std::{fmt::Write, process::ExitCode};

use clap::{ArgMatches, Args, Subcommand};

use super::{
    effective::{self, Effective, Source},
    failure::Failure,
    inputs::Inputs,
    output,
};
use crate::{
    build_info,
    config::{self, DatabaseLocation, Origin, Setting, Sources},
    server::{
        self,
        tls::{Refused, Tls},
    },
    upstream::Client,
};

/// Checks and shows the configuration of `serve`.
#[derive(Args, Debug)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the options as `serve` does, without listening and without opening the database or
    /// Redis
    Check(Box<config::Serve>),
    /// Show the value of each option and where it comes from, as a configuration file. Secrets are
    /// hidden
    Print(Box<config::Serve>),
}

/// What `config check` leaves out, because the database is not opened.
const KEYS_UNCHECKED: &str = "not checked: the keys in the database. Without one, `serve` does not \
                              start at an address that other machines reach\n";

/// The same about the Redis of a cluster.
const REDIS_UNCHECKED: &str = "not checked: whether the Redis at FEATHERWIRE_REDIS_URL (--redis-url) can \
                               be used. `serve` asks it at its start\n";

impl Config {
    /// The options of `serve`.
    pub(super) fn serve(&mut self) -> &mut config::Serve {
        match &mut self.action {
            Action::Check(config) | Action::Print(config) => config,
        }
    }

    pub fn run(
        self,
        inputs: &Inputs,
        sources: &Sources,
        matches: &ArgMatches,
    ) -> Result<ExitCode, Failure> {
        let options = effective::options(inputs, sources, matches);
        match self.action {
            Action::Check(config) => {
                let tls = check(&config)?;
                // `serve` starts with such a certificate, and takes none over while it runs.
                if let Some(Refused::Expired(problem) | Refused::NotYet(problem)) =
                    tls.refused().next()
                {
                    return Err(Failure::Failed(problem));
                }
                for warning in config.tls.warnings() {
                    output::warn(format_args!("featherwire: warning: {warning}"));
                }
                output::print(summary(&options))?;
                // With a key of each role, the listeners would be right.
                let without_keys = config
                    .check_listen(config.api_keys.is_empty())
                    .and_then(|()| config.check_admin_listen(false));
                if without_keys.is_err() {
                    output::print(KEYS_UNCHECKED.to_owned())?;
                }
                if config.cluster.redis_url.is_some() {
                    output::print(REDIS_UNCHECKED.to_owned())?;
                }
            }
            Action::Print(config) => {
                let accounts = config.accounts.iter().map(config::Account::as_toml);
                let accounts: String = accounts.map(|account| format!("\n{account}")).collect();
                output::print(text(&options) + &accounts)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Checks the options together, as far as that needs neither the database nor a listener. Returns
/// what the files of TLS have.
///
/// # Errors
/// A sentence that says what is wrong and how to correct it.
pub(super) fn check(config: &config::Serve) -> Result<Tls, Failure> {
    config.check()?;
    server::check(config)?;
    let tls = Tls::load(&config.tls, config.admin_listen.is_some())?;
    let listeners = match config.database()? {
        // It has no keys at the start.
        DatabaseLocation::Memory => config
            .check_listen(config.api_keys.is_empty())
            .and_then(|()| config.check_admin_listen(false)),
        // It may have a key of each role.
        DatabaseLocation::File(_) | DatabaseLocation::Postgres(_) => {
            config.check_admin_listen(true)
        }
    };
    listeners.map_err(Failure::Usage)?;
    if !config.emulator {
        Client::new(&config.upstream)?;
        for account in &config.accounts {
            Client::new(&account.upstream(&config.upstream))?;
        }
    }
    Ok(tls)
}

/// One line: that all is well, and how many options are set at which places.
fn summary(options: &[Effective]) -> String {
    let count = |is_counted: &dyn Fn(&Source) -> bool, singular: &str, plural: &str| {
        let sources = options.iter().map(|option| &option.source);
        match sources.filter(|source| is_counted(source)).count() {
            0 => None,
            1 => Some(format!("1 {singular}")),
            count => Some(format!("{count} {plural}")),
        }
    };
    let is_dotenv = |origin: &Origin| matches!(origin.root(), Origin::Dotenv(_));
    let is_variable = |origin: &Origin| matches!(origin.root(), Origin::Environment(_));
    let counts = [
        count(
            &|source| matches!(source, Source::Flag(_)),
            "by a flag",
            "by flags",
        ),
        count(
            &|source| matches!(source, Source::Set(origin) if is_variable(origin)),
            "by a variable",
            "by variables",
        ),
        count(
            &|source| matches!(source, Source::Set(origin) if is_dotenv(origin)),
            "in .env",
            "in .env",
        ),
        count(
            &|source| matches!(source, Source::Set(origin) if origin.is_file()),
            "in the configuration file",
            "in the configuration file",
        ),
        count(
            &|source| matches!(source, Source::Default),
            "by default",
            "by default",
        ),
    ];
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    format!(
        "the configuration is valid; options set: {}\n",
        counts.join(", ")
    )
}

/// All options as a configuration file, with the source of each in a comment.
fn text(options: &[Effective]) -> String {
    let mut text = format!("# Featherwire {}\n", build_info::version_and_revision());
    for group in options.chunk_by(|one, next| one.heading == next.heading) {
        let heading = group.first().map(|one| one.heading.as_str());
        // Writing to a String can't fail.
        let _ = writeln!(text, "\n# {}", heading.unwrap_or_default());
        for option in group {
            text.push_str(&line(option));
        }
    }
    text
}

/// The line of one option.
fn line(option: &Effective) -> String {
    let Effective {
        setting,
        values,
        source,
        ..
    } = option;
    // A path may have any character.
    let source: String = source
        .to_string()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let member = &setting.member;
    if let Source::Set(Origin::Named(path, _)) = &option.source {
        let path = config::quoted(&path.to_string_lossy());
        return format!("{}_file = {path}  # {source}\n", setting.member);
    }
    if values.is_empty() {
        return format!("# {member} is not set\n");
    }
    if values.iter().any(|value| setting.hides(value)) {
        let what = match values.len() {
            1 => "1 hidden value".to_owned(),
            count => format!("{count} hidden values"),
        };
        return format!("# {member} has {what}  # {source}\n");
    }
    format!("{member} = {}  # {source}\n", value(setting, values))
}

/// The values as the configuration file has them.
fn value(setting: &Setting, values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| setting.as_toml(value)).collect();
    if setting.is_list {
        format!("[{}]", values.join(", "))
    } else {
        values.concat()
    }
}
