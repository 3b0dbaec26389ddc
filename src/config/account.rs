//! The accounts of a gateway that uses several: the tables `[[account]]` of the configuration file.

use std::{fmt::Write as _, path::PathBuf};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{
    naming::Glob, regular_file, setting::quoted, upstream::Upstream, values::is_header_token,
};

/// The most accounts. Metrics have a label for each.
pub const ACCOUNTS_MAX: usize = 64;

/// The longest name of an account, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// The largest weight of an account.
pub(super) const WEIGHT_MAX: u32 = 1000;

/// The largest accepted file with a key, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// An account of Featherless, or another upstream of the same API.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name in metrics, views and the limits of keys: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Its API key. An upstream with fixed `units` may need none.
    pub featherless_api_key: Option<SecretString>,
    /// The file that has the API key. It is read by [`read_key`](Self::read_key).
    pub featherless_api_key_file: Option<PathBuf>,
    /// The base URL of its API. `None` for that of `FEATHERLESS_BASE_URL`.
    pub featherless_base_url: Option<Url>,
    /// Its share of the requests that fit into several accounts, from 1 to 1000.
    pub weight: u32,
    /// The models that it is asked for. Empty for all.
    pub models: Vec<Glob>,
    /// The patterns of `models`, as they were written.
    pub model_patterns: Vec<String>,
    /// How many concurrency units it has: 0 for no limit. `None` if the upstream tells it.
    pub units: Option<u32>,
}

impl Account {
    /// An account with this name, without a key and with the default for everything else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            featherless_api_key: None,
            featherless_api_key_file: None,
            featherless_base_url: None,
            weight: 1,
            models: Vec::new(),
            model_patterns: Vec::new(),
            units: None,
        }
    }

    /// The options of its upstream: those of all accounts, with its own address and key.
    pub fn upstream(&self, common: &Upstream) -> Upstream {
        let base_url = self.featherless_base_url.as_ref();
        Upstream {
            featherless_api_key: self.featherless_api_key.clone(),
            featherless_base_url: base_url.unwrap_or(&common.featherless_base_url).clone(),
            works_without_key: self.units.is_some(),
            ..common.clone()
        }
    }

    /// Reads the key from its file, if a file has it.
    ///
    /// # Errors
    /// A sentence that names the account and the file, and never the key.
    pub(super) fn read_key(&mut self) -> Result<(), String> {
        let Some(path) = &self.featherless_api_key_file else {
            return Ok(());
        };
        let problem = |problem: String| {
            format!(
                "the file {}, which featherless_api_key_file of the account {} names, {problem}",
                path.display(),
                self.name
            )
        };
        let bytes = regular_file::read(path, KEY_FILE_BYTES_MAX).map_err(problem)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| problem("is not UTF-8 text: write it again".to_owned()))?;
        let key = text.trim();
        if key.is_empty() {
            return Err(problem("is empty: write the key into it".to_owned()));
        }
        self.featherless_api_key = Some(SecretString::from(key));
        Ok(())
    }

    /// Everything about it, to find out whether it has changed. It contains the key.
    pub(crate) fn fingerprint(&self) -> String {
        let key = self.featherless_api_key.as_ref();
        let key = key.map(|key| key.expose_secret()).unwrap_or_default();
        format!("{}\0{key}\0{}", self.name, self.as_toml())
    }

    /// It as the configuration file has it, with the key hidden.
    pub(crate) fn as_toml(&self) -> String {
        let mut text = format!("[[account]]\nname = {}\n", quoted(&self.name));
        // Writing to a String can't fail.
        let _ = match (&self.featherless_api_key_file, &self.featherless_api_key) {
            (Some(path), _) => {
                let path = quoted(&path.to_string_lossy());
                writeln!(text, "featherless_api_key_file = {path}")
            }
            (None, Some(_)) => writeln!(text, "# featherless_api_key has 1 hidden value"),
            (None, None) => writeln!(text, "# featherless_api_key is not set"),
        };
        if let Some(url) = &self.featherless_base_url {
            let _ = writeln!(text, "featherless_base_url = {}", quoted(url.as_str()));
        }
        let _ = writeln!(text, "weight = {}", self.weight);
        if !self.model_patterns.is_empty() {
            let models: Vec<_> = self.model_patterns.iter().map(|it| quoted(it)).collect();
            let _ = writeln!(text, "models = [{}]", models.join(", "));
        }
        if let Some(units) = self.units {
            let _ = writeln!(text, "units = {units}");
        }
        text
    }
}

/// Checks a name of an account.
///
/// # Errors
/// What is right, to be written after the name of the member.
pub fn check_account_name(name: &str) -> Result<(), &'static str> {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_fit) {
        true => Ok(()),
        false => Err("must be 1 to 32 characters of a-z, 0-9 and -, such as team-a"),
    }
}

/// What must be said of the accounts that a key is pinned to, if `place`, which has the accounts
/// `known`, does not have all of them. That is no error, because another gateway may have them.
pub fn unknown_accounts<'a>(
    place: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    pinned: &[String],
) -> Option<String> {
    let unknown = pinned.iter().map(String::as_str);
    let unknown: Vec<_> = unknown
        .filter(|name| known.clone().all(|it| it != *name))
        .collect();
    (!unknown.is_empty()).then(|| {
        format!(
            "{place} does not have these accounts of the key: {}. It has {}. Unless another gateway \
             has them, change the key with `featherwire keys update --accounts`",
            unknown.join(", "),
            known.collect::<Vec<_>>().join(", ")
        )
    })
}

/// Checks all accounts together, and with the options that stand for one account: `has_key` and
/// `has_units` say whether these are set.
///
/// # Errors
/// A sentence that says what is wrong and how to correct it.
pub fn check(accounts: &[Account], has_key: bool, has_units: bool) -> Result<(), String> {
    if accounts.is_empty() {
        return Ok(());
    }
    if has_key {
        return Err(
            "FEATHERLESS_API_KEY (--featherless-api-key) and [[account]] of the configuration \
             file are both set: write the key as featherless_api_key into an [[account]], and \
             unset FEATHERLESS_API_KEY"
                .to_owned(),
        );
    }
    if has_units {
        return Err(
            "FEATHERWIRE_UNITS (--units) and [[account]] of the configuration file are both set: \
             write units into each [[account]] that needs it, and unset FEATHERWIRE_UNITS"
                .to_owned(),
        );
    }
    if accounts.len() > ACCOUNTS_MAX {
        return Err(format!(
            "[[account]]: {} accounts are more than the {ACCOUNTS_MAX} that a gateway may have: \
             run another gateway for the others",
            accounts.len()
        ));
    }
    for (place, account) in accounts.iter().enumerate() {
        let name = &account.name;
        if accounts.iter().skip(place + 1).any(|it| it.name == *name) {
            return Err(format!(
                "[[account]]: two accounts have the name {name}: give each its own"
            ));
        }
        match &account.featherless_api_key {
            Some(key) if !is_header_token(key.expose_secret()) => {
                return Err(format!(
                    "[[account]] {name}: featherless_api_key has a character that a header cannot \
                     contain: copy the key again, without spaces or line ends"
                ));
            }
            None if account.units.is_none() => {
                return Err(format!(
                    "[[account]] {name} has no key: set featherless_api_key or \
                     featherless_api_key_file. Only an upstream with fixed units may have none"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
