//! Where the values of options come from besides flags: the environment, `.env`, and the
//! configuration file, in this order. Each can have a secret itself, or name a file that has it.
//!
//! The command line gets all these values as defaults of its flags. So they can be read again while
//! the process runs, in which its environment must not change.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use super::{
    account::Account,
    dotenv::Dotenv,
    file::ConfigFile,
    names::{Names, Variables, printable},
    regular_file,
    setting::{CONFIG_VARIABLE, Setting, Settings},
};

/// The largest accepted file with a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The environment at the start of the process.
#[derive(Clone)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment as it is now.
    pub fn now() -> Self {
        Self(env::vars_os().collect())
    }

    /// The value of a variable, if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(OsStr::new(name))?.to_str()
    }

    /// Whether the variable is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(OsStr::new(name))
    }
}

/// Shows no value.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// The values of options besides flags, as they were when they were read.
#[derive(Debug)]
pub struct Sources {
    environment: Environment,
    /// The file `.env`.
    pub dotenv: Dotenv,
    file: Option<ConfigFile>,
    /// Warnings about files with one secret each.
    warnings: Vec<String>,
}

/// The values of an option, and where they come from.
#[derive(Clone)]
pub struct Found {
    /// The values, as they are after a flag.
    pub values: Vec<String>,
    /// Where they come from.
    pub origin: Origin,
}

impl Found {
    /// Whether one of the values is not empty.
    fn has_value(&self) -> bool {
        !self.values.iter().all(String::is_empty)
    }
}

/// Where a value comes from. Its `Display` is short: `FEATHERWIRE_LISTEN`, `.env line 2` or
/// `featherwire.toml line 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This variable of the environment.
    Environment(String),
    /// This line of `.env`.
    Dotenv(usize),
    /// This line of the configuration file.
    File(PathBuf, usize),
    /// A file that is named there.
    Named(PathBuf, Box<Origin>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => f.write_str(variable),
            Self::Dotenv(line) => write!(f, ".env line {line}"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Named(path, by) => write!(f, "{}, named by {by}", path.display()),
        }
    }
}

impl Origin {
    /// Where the value, or the name of its file, is set.
    pub fn root(&self) -> &Self {
        match self {
            Self::Environment(_) | Self::Dotenv(_) | Self::File(..) => self,
            Self::Named(_, by) => by.root(),
        }
    }

    /// Whether the configuration file has the value, or names its file.
    pub fn is_file(&self) -> bool {
        matches!(self.root(), Self::File(..))
    }

    /// The place in a sentence: "set …".
    pub fn place(&self) -> String {
        match self {
            Self::Environment(_) => "in the environment".to_owned(),
            Self::Dotenv(_) | Self::File(..) | Self::Named(..) => format!("in {self}"),
        }
    }
}

impl Sources {
    /// Reads `.env` and the configuration file: the one at `path`, which the flag names, or that of
    /// the variable.
    ///
    /// # Errors
    /// Sentences that say what is wrong and how to fix it, without values.
    pub fn read(
        names: &Names,
        settings: &Settings,
        environment: &Environment,
        path: Option<&Path>,
    ) -> Result<Self, String> {
        let dotenv = Dotenv::read(names, environment)?;
        let of_environment = environment.get(CONFIG_VARIABLE);
        let of_variable = of_environment
            .filter(|path| !path.is_empty())
            .or_else(|| Some(dotenv.get(CONFIG_VARIABLE)?.0))
            .filter(|path| !path.is_empty());
        let file = path
            .or(of_variable.map(Path::new))
            .map(|path| ConfigFile::read(path, settings))
            .transpose()?;
        let mut sources = Self {
            environment: environment.clone(),
            dotenv,
            file,
            warnings: Vec::new(),
        };
        sources.warnings = sources.open_secrets(settings);
        Ok(sources)
    }

    /// A warning for each file with a secret that other users may read or change.
    fn open_secrets(&self, settings: &Settings) -> Vec<String> {
        let warnings = settings.secrets().filter_map(|setting| {
            // A problem is told when the value is needed.
            let Origin::Named(path, _) = self.find(setting).ok()??.origin else {
                return None;
            };
            regular_file::is_open_to_others(&path).then(|| {
                let (path, member) = (path.display(), &setting.member);
                format!(
                    "{path} contains a secret ({member}) and other users may read or change it: \
                     run `chmod o-rw {path}`"
                )
            })
        });
        warnings.collect()
    }

    /// Warnings about the files and about suspicious names of variables, one sentence each.
    pub fn warnings(&self, names: &Names) -> Vec<String> {
        let of_file = self.file.iter().flat_map(|file| &file.warnings);
        let of_files = self.dotenv.warnings.iter().chain(of_file);
        let in_environment = self.environment.0.keys();
        let variables: Variables = in_environment
            .map(|name| (printable(name), String::new()))
            .chain(self.dotenv.places())
            .collect();
        of_files
            .chain(&self.warnings)
            .cloned()
            .chain(names.warnings(&variables))
            .collect()
    }

    /// The configuration file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(ConfigFile::path)
    }

    /// The accounts of the configuration file, with their keys.
    ///
    /// # Errors
    /// A sentence without values: the file of a key cannot be used.
    pub fn accounts(&self) -> Result<Vec<Account>, String> {
        let mut accounts = self
            .file
            .as_ref()
            .map(|file| file.accounts().to_vec())
            .unwrap_or_default();
        accounts.iter_mut().try_for_each(Account::read_key)?;
        Ok(accounts)
    }

    /// The names of the accounts of the configuration file.
    pub fn account_names(&self) -> Vec<String> {
        let accounts = self.file.iter().flat_map(ConfigFile::accounts);
        accounts.map(|account| account.name.clone()).collect()
    }

    /// The values of an option: those of the environment, or of `.env`, or of the configuration
    /// file. `None` if it is set nowhere. What is behind the first place that has a value is not
    /// read. An empty value counts only if no later place has another one; a variable of the
    /// environment that is empty still replaces that of `.env`.
    ///
    /// # Errors
    /// A sentence without values: a secret is set twice at one place, or its file cannot be used.
    pub fn find(&self, setting: &Setting) -> Result<Option<Found>, String> {
        let (variable, file_variable) = (&setting.variable, setting.file_variable());
        let in_environment = |name: &str| {
            let value = self.environment.get(name)?.to_owned();
            Some((vec![value], Origin::Environment(name.to_owned())))
        };
        let in_dotenv = |name: &str| {
            let (value, line) = self.dotenv.get(name)?;
            Some((vec![value.to_owned()], Origin::Dotenv(line)))
        };
        let in_file = |name: &str| {
            let file = self.file.as_ref()?;
            let member = file.member(name)?;
            let origin = Origin::File(file.path().to_owned(), member.line);
            Some((member.values.clone(), origin))
        };
        let (member, file_member) = (&setting.member, setting.file_member());
        let of_environment = choose(setting, in_environment, variable, &file_variable)?;
        if of_environment.as_ref().is_some_and(Found::has_value) {
            return Ok(of_environment);
        }
        let of_dotenv = choose(setting, in_dotenv, variable, &file_variable)?;
        if of_dotenv.as_ref().is_some_and(Found::has_value) {
            return Ok(of_dotenv);
        }
        let of_file = choose(setting, in_file, member, &file_member)?;
        if of_file.as_ref().is_some_and(Found::has_value) {
            return Ok(of_file);
        }
        Ok(of_environment.or(of_dotenv).or(of_file))
    }
}

/// The values of a setting at one place, at which it has these names.
fn choose(
    setting: &Setting,
    get: impl Fn(&str) -> Option<(Vec<String>, Origin)>,
    name: &str,
    file_name: &str,
) -> Result<Option<Found>, String> {
    let own = get(name);
    let named = setting.is_secret.then(|| get(file_name)).flatten();
    // An empty name is as good as none.
    let named = named.and_then(|(path, by)| {
        let path = path.into_iter().next().filter(|path| !path.is_empty())?;
        Some((PathBuf::from(path), by))
    });
    let is_empty = |values: &[String]| values.iter().all(String::is_empty);
    match (own, named) {
        (Some((values, origin)), Some((_, by))) if !is_empty(&values) => Err(format!(
            "{name} ({}) and {file_name} ({}) are both set: remove one of them",
            origin.place(),
            by.place()
        )),
        (_, Some((path, by))) => {
            let values = secret(setting, &path).map_err(|problem| {
                let path = path.display();
                format!(
                    "the file {path}, which {file_name} names ({}), {problem}",
                    by.place()
                )
            })?;
            let origin = Origin::Named(path, Box::new(by));
            Ok(Some(Found { values, origin }))
        }
        (own, None) => Ok(own.map(|(values, origin)| Found { values, origin })),
    }
}

/// The values in the file of a secret. Each line of the file of a list has one or several, or is a
/// comment.
fn secret(setting: &Setting, path: &Path) -> Result<Vec<String>, String> {
    let bytes = regular_file::read(path, SECRET_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text: write it again")?;
    let has_nothing = || "is empty: write the secret into it".to_owned();
    if text.trim().is_empty() {
        return Err(has_nothing());
    }
    if !setting.is_list {
        let text = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(vec![text.strip_suffix('\r').unwrap_or(text).to_owned()]);
    }
    let lines = text.lines().map(str::trim);
    let values: Vec<_> = lines
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(',').map(str::trim))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    match values.is_empty() {
        true => Err(has_nothing()),
        false => Ok(values),
    }
}
