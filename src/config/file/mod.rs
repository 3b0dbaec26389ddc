//! The configuration file: a TOML document whose members are options. The values are given to the
//! command line's own parsers, as text. No message contains a value.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

mod accounts;
mod reader;

use super::{account::Account, regular_file, setting::Settings};
use reader::Reader;

/// The largest accepted file, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// The contents of the configuration file.
pub struct ConfigFile {
    path: PathBuf,
    members: BTreeMap<String, Member>,
    accounts: Vec<Account>,
    /// Warnings, one sentence each.
    pub warnings: Vec<String>,
}

/// A member of the configuration file.
#[derive(Clone)]
pub(super) struct Member {
    /// The values, as they are after a flag.
    pub(super) values: Vec<String>,
    /// The line of its name.
    pub(super) line: usize,
}

impl ConfigFile {
    /// Reads the file at `path`, which may set `settings`.
    ///
    /// # Errors
    /// Sentences that name the file and the invalid lines, without their values.
    pub fn read(path: &Path, settings: &Settings) -> Result<Self, String> {
        let bytes = regular_file::read(path, BYTES_MAX).map_err(|problem| {
            format!(
                "the configuration file {} (--config, or FEATHERWIRE_CONFIG) {problem}",
                path.display()
            )
        })?;
        let mut reader = Reader::new(path, settings);
        reader.read(&bytes);
        let Reader {
            members,
            accounts,
            errors,
            mut warnings,
            ..
        } = reader;
        if !errors.is_empty() {
            return Err(errors.join("\n  "));
        }
        warnings.extend(open_secret(path, &members, &accounts, settings));
        Ok(Self {
            path: path.to_owned(),
            members,
            accounts,
            warnings,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The accounts, without the keys that files of their own have.
    pub(super) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }
}

/// Shows no value.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.members.keys().collect();
        f.debug_struct("ConfigFile")
            .field("path", &self.path)
            .field("members", &names)
            .finish_non_exhaustive()
    }
}

/// A warning if the file has a secret and other users may read or change it.
fn open_secret(
    path: &Path,
    members: &BTreeMap<String, Member>,
    accounts: &[Account],
    settings: &Settings,
) -> Option<String> {
    let is_secret = |setting: &&crate::config::Setting| {
        let member = members.get(&setting.member);
        let mut values = member.iter().flat_map(|member| &member.values);
        values.any(|value| setting.hides(value))
    };
    let of_option = settings.secrets().find(is_secret);
    let of_option = of_option.map(|secret| (secret.member.clone(), secret.file_member()));
    let has_key = |account: &Account| account.featherless_api_key.is_some();
    let of_account = || {
        let secret = "featherless_api_key".to_owned();
        let file = format!("{secret}_file");
        accounts.iter().any(has_key).then_some((secret, file))
    };
    let (secret, file_member) = of_option.or_else(of_account)?;
    regular_file::is_open_to_others(path).then(|| {
        let path = path.display();
        format!(
            "{path} contains a secret ({secret}) and other users may read or change it: run \
             `chmod o-rw {path}`, or name a file that has only the secret ({file_member})"
        )
    })
}
