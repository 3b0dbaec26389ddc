//! Keys as JSON, as a table, and one key as a list of its settings.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    cli::columns::{all_shortened, longest, shortened},
    keys::{
        Budget, BudgetStatus, Key, Limits, Role, SecretInfo,
        clock::{UnixMs, system_time},
    },
};

/// What the columns of a table take without the name, with the spaces between them.
const OTHERS: usize = 68;

/// The same for a table with the owner and with the time of the last use.
const OTHERS_WIDE: usize = 76;

/// The columns of a terminal that has room for such a table.
const WIDE: usize = 100;

/// A key as JSON. Times are RFC 3339 in UTC.
#[derive(Serialize)]
struct KeyJson<'a> {
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    role: &'static str,
    state: &'static str,
    owner: &'a str,
    labels: &'a BTreeMap<String, String>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    limits: &'a Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    budgets: Option<Vec<BudgetJson<'a>>>,
    secrets: Vec<SecretJson<'a>>,
}

/// A budget, and what is left of it.
#[derive(Serialize)]
struct BudgetJson<'a> {
    #[serde(flatten)]
    budget: &'a Budget,
    spent: u64,
    left: u64,
    renews_at: Option<String>,
}

#[derive(Serialize)]
struct SecretJson<'a> {
    public_id: &'a str,
    last_four: &'a str,
    created_at: String,
    ends_at: Option<String>,
}

impl<'a> KeyJson<'a> {
    fn new(key: &'a Key, secret: Option<&'a str>) -> Self {
        let settings = &key.settings;
        Self {
            id: key.id.to_string(),
            name: &settings.name,
            secret,
            role: key.role.name(),
            state: key.state().name(),
            owner: &settings.owner,
            labels: &settings.labels,
            created_at: rfc3339(key.created_at),
            expires_at: settings.expires_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
            limits: &settings.limits,
            budgets: None,
            secrets: key.secrets.iter().map(SecretJson::new).collect(),
        }
    }
}

impl<'a> BudgetJson<'a> {
    fn new(status: &'a BudgetStatus) -> Self {
        Self {
            budget: &status.budget,
            spent: status.spent,
            left: status.left,
            renews_at: status.renews_at.map(rfc3339),
        }
    }
}

impl<'a> SecretJson<'a> {
    fn new(secret: &'a SecretInfo) -> Self {
        Self {
            public_id: &secret.public_id,
            last_four: &secret.last_four,
            created_at: rfc3339(secret.created_at),
            ends_at: secret.ends_at.map(rfc3339),
        }
    }
}

/// A key as a JSON object, with what is left of its budgets.
pub(super) fn json_with_budgets(key: &Key, left: &[BudgetStatus]) -> String {
    let mut json = KeyJson::new(key, None);
    json.budgets = Some(left.iter().map(BudgetJson::new).collect());
    pretty(&json)
}

/// A key as a JSON object, with its secret if it is new.
pub(super) fn json(key: &Key, secret: Option<&str>) -> String {
    pretty(&KeyJson::new(key, secret))
}

/// A new secret as a JSON object, without the settings of its key.
pub(super) fn json_of_secret(id: &str, name: &str, secret: &str) -> String {
    pretty(&serde_json::json!({"id": id, "name": name, "secret": secret}))
}

/// Keys as a JSON list.
pub(super) fn json_list(keys: &[Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| KeyJson::new(key, None)).collect();
    pretty(&keys)
}

fn pretty(value: &impl Serialize) -> String {
    // Texts, numbers and lists of them always serialise.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Keys as a table, for a terminal of this number of columns. A narrow one has no room for owners
/// and for the time of the last use. `None`: no terminal, and nothing is shortened.
pub(super) fn table(keys: &[Key], columns: Option<usize>) -> String {
    let is_wide = columns.is_none_or(|columns| columns >= WIDE);
    let names: Vec<_> = keys.iter().map(|key| key.settings.name.clone()).collect();
    let of_name = columns.map_or(usize::MAX, |columns| match is_wide {
        // The owner has the same room.
        true => (columns - OTHERS_WIDE) / 2,
        false => columns - OTHERS,
    });
    let names = all_shortened(&names, of_name);
    let width = longest(names.iter().map(String::as_str)).max("NAME".len());
    let of_owner = columns.map_or(usize::MAX, |columns| {
        columns.saturating_sub(OTHERS_WIDE + width)
    });
    let mut table = String::new();
    let mut line = |[id, name, role, state, last_used, owner]: [&str; 6]| {
        let day = last_used.split(' ').next().unwrap_or(last_used);
        let last_used = match is_wide {
            true => format!("{last_used:16}  {owner}"),
            // Without the time.
            false if last_used.starts_with(|c: char| c.is_ascii_digit()) => day.to_owned(),
            false => last_used.to_owned(),
        };
        let line = format!("{id:36}  {name:width$}  {role:6}  {state:8}  {last_used}");
        // Writing to a String can't fail.
        let _ = writeln!(table, "{}", line.trim_end());
    };
    line(["ID", "NAME", "ROLE", "STATE", "LAST USED", "OWNER"]);
    for (key, name) in keys.iter().zip(&names) {
        let role = match key.role {
            Role::Inference => "-",
            Role::Admin | Role::Viewer => key.role.name(),
        };
        line([
            &key.id.to_string(),
            name,
            role,
            key.state().name(),
            &key.last_used_at.map_or("never".to_owned(), day_and_time),
            &shortened(&key.settings.owner, of_owner),
        ]);
    }
    table
}

/// One key, a line for each setting.
pub(super) fn card(key: &Key) -> String {
    card_with_budgets(key, &[])
}

/// The same, with what is left of its budgets as far as it is known.
pub(super) fn card_with_budgets(key: &Key, left: &[BudgetStatus]) -> String {
    let settings = &key.settings;
    let limits = &settings.limits;
    let mut card = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(card, "{name:20}  {value}");
        }
    };
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    line("id", key.id.to_string());
    line("name", settings.name.clone());
    line("role", key.role.name().to_owned());
    line("state", key.state().name().to_owned());
    line("owner", settings.owner.clone());
    let labels = settings
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    line("labels", labels.collect::<Vec<_>>().join(", "));
    line("created", day_and_time(key.created_at));
    line(
        "expires",
        settings.expires_at.map_or_else(String::new, day_and_time),
    );
    line(
        "last used",
        key.last_used_at.map_or("never".to_owned(), day_and_time),
    );
    line("models", limits.models.join(", "));
    line("accounts", limits.accounts.join(", "));
    line("weight", number(limits.weight.map(u64::from)));
    line("max units", number(limits.max_units.map(u64::from)));
    let class = limits
        .highest_priority
        .map(|class| format!("{class:?}").to_lowercase());
    line("highest priority", class.unwrap_or_default());
    line(
        "requests per minute",
        number(limits.requests_per_minute.map(u64::from)),
    );
    line("tokens per minute", number(limits.tokens_per_minute));
    for budget in &limits.budgets {
        line("budget", budget.to_string());
        let left = left.iter().find(|status| status.budget == *budget);
        line("", left.map_or_else(String::new, left_of_budget));
    }
    for secret in &key.secrets {
        let end = secret
            .ends_at
            .map_or_else(String::new, |at| format!(", ends {}", day_and_time(at)));
        line(
            "secret",
            format!("{}_…{}{end}", secret.public_id, secret.last_four),
        );
    }
    card
}

/// Such as `12% used, 880 left, renews 2026-11-30 00:00`. The time is in UTC.
fn left_of_budget(status: &BudgetStatus) -> String {
    let percent = status.spent.saturating_mul(100) / status.budget.amount.max(1);
    let renews = status.renews_at;
    let renews = renews.map_or_else(String::new, |at| format!(", renews {}", day_and_time(at)));
    format!("{percent}% used, {} left{renews}", status.left)
}

fn rfc3339(at: UnixMs) -> String {
    humantime::format_rfc3339_seconds(system_time(at)).to_string()
}

/// Such as `2026-11-28 18:20`, in UTC.
fn day_and_time(at: UnixMs) -> String {
    rfc3339(at)
        .chars()
        .take(16)
        .map(|c| if c == 'T' { ' ' } else { c })
        .collect()
}
