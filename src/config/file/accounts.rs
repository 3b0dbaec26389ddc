//! The tables `[[account]]`.

use std::path::PathBuf;

use secrecy::SecretString;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::config::{
    account::{Account, WEIGHT_MAX, check_account_name},
    address::base_url,
    naming::glob,
};

/// The name of the tables.
pub(super) const MEMBER: &str = "account";

/// The members of a table.
const MEMBERS: [&str; 7] = [
    "name",
    "featherless_api_key",
    "featherless_api_key_file",
    "featherless_base_url",
    "weight",
    "models",
    "units",
];

/// What is wrong, and where in the text.
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) text: String,
}

/// Reads the tables. No problem contains a value.
pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<Account>, Problem> {
    let at = value.span().start;
    let wrong = |at: usize, text: &str| Problem {
        at,
        text: text.to_owned(),
    };
    let DeValue::Array(tables) = value.get_ref() else {
        let text = "account must be a list of tables: begin each account with a line [[account]]";
        return Err(wrong(at, text));
    };
    if tables.is_empty() {
        let text = "account is an empty list, so no model could be asked: add an [[account]], or \
                    remove the line";
        return Err(wrong(at, text));
    }
    let accounts = tables.iter().map(|table| match table.get_ref() {
        DeValue::Table(members) => account(table.span().start, members),
        _ => {
            let text = "account has an element that is no table: begin each account with a line \
                        [[account]]";
            Err(wrong(table.span().start, text))
        }
    });
    accounts.collect()
}

fn account(at: usize, members: &DeTable<'_>) -> Result<Account, Problem> {
    let mut account = Account::new("");
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in ordered {
        let member = name.get_ref();
        set(&mut account, member, value.get_ref()).map_err(|problem| Problem {
            at: name.span().start,
            text: format!("[[account]]: {problem}"),
        })?;
    }
    let problem = |text: &str| Problem {
        at,
        text: format!("[[account]]: {text}"),
    };
    if account.name.is_empty() {
        return Err(problem("name is missing: write name = \"team-a\""));
    }
    if account.featherless_api_key.is_some() && account.featherless_api_key_file.is_some() {
        let text = "featherless_api_key and featherless_api_key_file are both set: remove one of \
                    them";
        return Err(problem(text));
    }
    Ok(account)
}

/// Sets the member `name`. A name that is unknown may be a secret in the wrong place, so it is not
/// shown.
fn set(account: &mut Account, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    match name {
        "name" => {
            let text = text(name, value)?;
            check_account_name(text).map_err(|problem| format!("name {problem}"))?;
            text.clone_into(&mut account.name);
        }
        "featherless_api_key" => {
            // An empty value counts as unset, as everywhere.
            let key = Some(text(name, value)?.trim()).filter(|key| !key.is_empty());
            account.featherless_api_key = key.map(SecretString::from);
        }
        "featherless_api_key_file" => {
            let path = Some(text(name, value)?).filter(|path| !path.is_empty());
            account.featherless_api_key_file = path.map(PathBuf::from);
        }
        "featherless_base_url" => {
            let url = base_url(text(name, value)?);
            account.featherless_base_url =
                Some(url.map_err(|problem| format!("featherless_base_url: {problem}"))?);
        }
        "weight" => {
            let weight = number(value).filter(|weight| (1..=WEIGHT_MAX).contains(weight));
            account.weight = weight.ok_or_else(|| {
                format!("weight must be a whole number from 1 to {WEIGHT_MAX}: write weight = 1")
            })?;
        }
        "models" => {
            let problem = || {
                "models must be a list of ids with * and ?: write models = [\"org/*\"], or leave \
                 it out for all models"
                    .to_owned()
            };
            let DeValue::Array(list) = value else {
                return Err(problem());
            };
            if list.is_empty() {
                return Err(problem());
            }
            for element in list {
                let pattern = element.get_ref().as_str().ok_or_else(problem)?;
                let parsed = glob(pattern).map_err(|problem| format!("models: {problem}"))?;
                account.models.push(parsed);
                account.model_patterns.push(pattern.to_owned());
            }
        }
        "units" => {
            let units = number(value).ok_or_else(|| {
                "units must be a whole number, 0 for no limit: write units = 4".to_owned()
            })?;
            account.units = Some(units);
        }
        _ => {
            return Err(format!(
                "an account has no such member: the members are {}",
                MEMBERS.join(", ")
            ));
        }
    }
    Ok(())
}

fn text<'a>(name: &str, value: &'a DeValue<'_>) -> Result<&'a str, String> {
    let text = value.as_str().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| format!("{name} must be a string: write {name} = \"…\""))
}

fn number(value: &DeValue<'_>) -> Option<u32> {
    match value {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}
