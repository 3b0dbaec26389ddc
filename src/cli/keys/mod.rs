//! `featherwire keys`: creates, shows, changes and ends gateway keys, directly in the database or
//! through a running gateway.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use secrecy::ExposeSecret;

use super::{columns, failure::Failure, output};
use crate::{
    config,
    keys::{BudgetStatus, Key, KeySettings, KeysError, Role, SecretKind, clock},
};

mod remote;
mod settings;
mod show;
mod source;
mod values;

use settings::{Clear, SettingFlags};
use source::{Issued, Source};
use values::grace;

/// Manages the gateway's keys in its database, or through a running gateway (--gateway). A gateway
/// notices changes in its database within two seconds.
#[derive(Args, Debug)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,

    /// The accounts of the configuration file.
    #[arg(skip)]
    pub(super) accounts: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key and show its secret, once
    Create(Create),
    /// Show all keys
    List(List),
    /// Show one key with its limits
    Show(One),
    /// Change the settings and limits of a key
    Update(Update),
    /// Give a key another secret, and end the present one after a while
    Rotate(Rotate),
    /// End a key for ever
    Revoke(Revoke),
    /// Remove a key and its secrets. Records of its calls stay
    Delete(One),
}

#[derive(Args, Debug)]
struct Create {
    /// A name by which you recognise the key
    #[arg(long, value_name = "NAME")]
    name: String,

    /// Make a key that manages keys, or reads about them, and calls no model
    #[arg(long, value_name = "ROLE")]
    admin: Option<AdminRole>,

    /// Let the secret begin with gw_test_ instead of gw_live_
    #[arg(long, conflicts_with = "admin")]
    test: bool,

    #[command(flatten)]
    settings: SettingFlags,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AdminRole {
    /// Manages keys
    Admin,
    /// Reads what administrators see
    Viewer,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct One {
    /// The id of the key, or its name if no other key has the same
    #[arg(value_name = "ID")]
    key: String,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Revoke {
    // Before the others, which have headings.
    /// End its running calls too, with an error
    #[arg(long)]
    cut_calls: bool,

    #[command(flatten)]
    one: One,
}

#[derive(Args, Debug)]
struct Update {
    /// The id of the key, or its name if no other key has the same
    #[arg(value_name = "ID")]
    key: String,

    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Refuse its calls until --enable
    #[arg(long)]
    disable: bool,

    /// Accept its calls again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,

    /// Settings to remove, comma-separated
    #[arg(long, value_name = "SETTING,…", value_delimiter = ',')]
    clear: Vec<Clear>,

    #[command(flatten)]
    settings: SettingFlags,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Rotate {
    /// The id of the key, or its name if no other key has the same
    #[arg(value_name = "ID")]
    key: String,

    /// How long the present secret stays valid; 0s if others know it
    #[arg(
        long,
        value_name = "TIME",
        default_value = "24h",
        value_parser = grace,
        allow_hyphen_values = true
    )]
    grace: Duration,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    from: config::AdminPlace,
}

impl Keys {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Create(create) => create.run(&self.accounts).await?,
            Action::List(list) => list.run().await?,
            Action::Show(one) => {
                let mut keys = one.common.open().await?;
                let id = keys.resolve(&one.key).await?;
                let (key, left) = keys.get_with_budgets(id).await?;
                one.common.print_with_budgets(&key, &left)?;
                keys.close().await;
            }
            Action::Update(update) => update.run(&self.accounts).await?,
            Action::Rotate(rotate) => rotate.run().await?,
            Action::Revoke(Revoke { one, cut_calls }) => {
                let mut keys = one.common.open().await?;
                let id = keys.resolve(&one.key).await?;
                let key = keys.revoke(id, cut_calls).await?;
                keys.close().await;
                one.common.print_end(&key, "revoked")?;
            }
            Action::Delete(one) => {
                let mut keys = one.common.open().await?;
                let id = keys.resolve(&one.key).await?;
                let key = keys.delete(id).await?;
                keys.close().await;
                one.common.print_end(&key, "deleted")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self, accounts: &[String]) -> Result<(), Failure> {
        let mut settings = KeySettings::named(self.name);
        self.settings.apply(&mut settings);
        let (role, kind) = match self.admin {
            Some(AdminRole::Admin) => (Role::Admin, SecretKind::Admin),
            Some(AdminRole::Viewer) => (Role::Viewer, SecretKind::Admin),
            None if self.test => (Role::Inference, SecretKind::Test),
            None => (Role::Inference, SecretKind::Live),
        };
        // Before a database is created for it.
        settings.check_for(role).map_err(Failure::Usage)?;
        let mut keys = Source::create_or_open(&self.common.from).await?;
        let note = self.common.note_of_accounts(accounts, &settings);
        let mut issued = keys.create(role, kind, settings).await?;
        keys.close().await;
        issued.notice.extend(note);
        self.common.print_issued(issued)
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut keys = self.common.open().await?;
        let list = keys.list().await?;
        keys.close().await;
        if self.common.json {
            return output::print(show::json_list(&list));
        }
        output::print(show::table(&list, columns::of_terminal()))?;
        output::tell(format_args!("{} keys\n", list.len()));
        Ok(())
    }
}

impl Update {
    async fn run(self, accounts: &[String]) -> Result<(), Failure> {
        self.check()?;
        let sets_accounts = self.settings.sets(Clear::Accounts);
        let mut keys = self.common.open().await?;
        let id = keys.resolve(&self.key).await?;
        if self.enable {
            let key = keys.get(id).await?;
            if key.revoked_at.is_some() {
                return Err(KeysError::revoked(&key).into());
            }
        }
        let Self {
            name,
            disable,
            enable,
            clear,
            settings: flags,
            ..
        } = self;
        let change = |settings: &mut KeySettings| {
            clear.iter().for_each(|setting| setting.clear(settings));
            if let Some(name) = name {
                settings.name = name;
            }
            if disable {
                settings.disabled_at.get_or_insert_with(clock::now);
            } else if enable {
                settings.disabled_at = None;
            }
            flags.apply(settings);
        };
        let key = keys.update(id, change).await?;
        keys.close().await;
        let note = self.common.note_of_accounts(accounts, &key.settings);
        if let Some(note) = note.filter(|_| sets_accounts) {
            output::tell(format_args!("featherwire: {note}\n\n"));
        }
        self.common.print(&key)
    }

    /// Checks what is right or wrong for every key.
    fn check(&self) -> Result<(), Failure> {
        let of_both = |clear: &&Clear| self.settings.sets(**clear);
        if let Some(both) = self.clear.iter().find(of_both) {
            let value = both.to_possible_value();
            return Err(Failure::Usage(format!(
                "{} is in --clear, and another option sets it: give one of them",
                value.as_ref().map_or("a setting", |value| value.get_name())
            )));
        }
        let mut settings = KeySettings::named(self.name.as_deref().unwrap_or("any"));
        self.settings.clone().apply(&mut settings);
        settings.check().map_err(Failure::Usage)
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let mut keys = self.common.open().await?;
        let id = keys.resolve(&self.key).await?;
        let issued = keys.rotate(id, self.grace).await?;
        keys.close().await;
        self.common.print_issued(issued)
    }
}

impl Common {
    /// The keys in the database, which must exist, or at the gateway.
    async fn open(&self) -> Result<Source, Failure> {
        Source::open(&self.from).await
    }

    /// What must be said of the accounts of a key, if those of the configuration file are `known`.
    /// A gateway that is asked knows its own, and says it itself.
    fn note_of_accounts(&self, known: &[String], settings: &KeySettings) -> Option<String> {
        if known.is_empty() || self.from.gateway().is_some() {
            return None;
        }
        let known = known.iter().map(String::as_str);
        config::unknown_accounts("The configuration file", known, &settings.limits.accounts)
    }

    /// Prints a key.
    fn print(&self, key: &Key) -> Result<(), Failure> {
        if self.json {
            return output::print(show::json(key, None));
        }
        output::print(show::card(key))
    }

    /// Prints a key, and what is left of its budgets.
    fn print_with_budgets(&self, key: &Key, left: &[BudgetStatus]) -> Result<(), Failure> {
        if self.json {
            return output::print(show::json_with_budgets(key, left));
        }
        output::print(show::card_with_budgets(key, left))
    }

    /// Prints a new secret and its key. The secret alone goes to standard output, so that a script
    /// can take it. It is printed also if its key cannot be shown, because nothing shows it again.
    fn print_issued(&self, issued: Issued) -> Result<(), Failure> {
        if !issued.notice.is_empty() {
            output::tell(format_args!("featherwire: {}\n\n", issued.notice));
        }
        let secret = issued.secret.expose_secret();
        if self.json {
            let json = match &issued.key {
                Ok(key) => show::json(key, Some(secret)),
                Err(_) => show::json_of_secret(&issued.id, &issued.name, secret),
            };
            output::print(json)?;
        } else {
            if let Ok(key) = &issued.key {
                output::tell(show::card(key));
            }
            output::tell("\nThe secret, which is not shown again:\n");
            output::print(format_args!("{secret}\n"))?;
        }
        issued.key.map(|_| ())
    }

    /// Prints what has ended.
    fn print_end(&self, key: &Key, what: &str) -> Result<(), Failure> {
        if self.json {
            return output::print(show::json(key, None));
        }
        output::print(format_args!(
            "{} ({}) is {what}\n",
            key.settings.name, key.id
        ))
    }
}
