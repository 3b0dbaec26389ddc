//! Switches for the faults that a model's id cannot select: faults of the feed of units, of the
//! plan and of the list of models.
//!
//! A switch is set when the emulator starts, or while it runs with `PUT /emulator/switches/NAME`.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::endpoint_faults::{FeedFault as Feed, ModelListFault as Models, PlanFault as Plan};

/// One switch and its value, such as `feed=ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(Setting);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Feed(Option<Feed>),
    Plan(Option<Plan>),
    Models(Option<Models>),
    /// The plan's concurrency units. `None` means no limit.
    Units(Option<u32>),
}

/// A value that a switch can have.
#[derive(Debug)]
pub struct SwitchValue {
    /// The name of the switch.
    pub name: &'static str,
    /// The value.
    pub value: &'static str,
    /// The effect, in one line.
    pub effect: &'static str,
    setting: Setting,
}

const fn feed(value: &'static str, fault: Feed, effect: &'static str) -> SwitchValue {
    SwitchValue {
        name: "feed",
        value,
        effect,
        setting: Setting::Feed(Some(fault)),
    }
}

const fn plan(value: &'static str, fault: Plan, effect: &'static str) -> SwitchValue {
    SwitchValue {
        name: "plan",
        value,
        effect,
        setting: Setting::Plan(Some(fault)),
    }
}

const fn models(value: &'static str, fault: Models, effect: &'static str) -> SwitchValue {
    SwitchValue {
        name: "models",
        value,
        effect,
        setting: Setting::Models(Some(fault)),
    }
}

const fn no_fault(name: &'static str, setting: Setting, effect: &'static str) -> SwitchValue {
    SwitchValue {
        name,
        value: DEFAULT,
        effect,
        setting,
    }
}

/// The value of a switch without a fault.
const DEFAULT: &str = "usual";
const NO_LIMIT: &str = "none";

/// Every value of every switch except `units`, which takes a number.
pub const SWITCHES: &[SwitchValue] = &[
    no_fault("feed", Setting::Feed(None), "a snapshot every 2 s"),
    feed("no-limit", Feed::NoLimit, "snapshots without limit"),
    feed(
        "null-limit",
        Feed::NullLimit,
        "limit: null, which means no limit",
    ),
    feed("float-limit", Feed::FloatLimit, "limit: 4.0"),
    feed("text-limit", Feed::TextLimit, "limit: \"4\""),
    feed("huge-limit", Feed::HugeLimit, "limit: 99999999999"),
    feed("zero-limit", Feed::ZeroLimit, "limit: 0"),
    feed("negative-limit", Feed::NegativeLimit, "limit: -1"),
    feed(
        "no-used-cost",
        Feed::NoUsedCost,
        "snapshots without used_cost",
    ),
    feed("null-used-cost", Feed::NullUsedCost, "used_cost: null"),
    feed("text-used-cost", Feed::TextUsedCost, "used_cost: \"none\""),
    feed(
        "negative-used-cost",
        Feed::NegativeUsedCost,
        "used_cost: -1",
    ),
    feed(
        "no-requests",
        Feed::NoRequests,
        "snapshots without requests",
    ),
    feed("empty-object", Feed::EmptyObject, "{} after each snapshot"),
    feed(
        "ping",
        Feed::Ping,
        "{\"type\":\"ping\"} after each snapshot",
    ),
    feed("error", Feed::Error, "{\"error\": …} after each snapshot"),
    feed(
        "broken-json",
        Feed::BrokenJson,
        "half a snapshot after each snapshot",
    ),
    feed(
        "only-pings",
        Feed::OnlyPings,
        "{\"type\":\"ping\"} in place of snapshots",
    ),
    feed(
        "only-comments",
        Feed::OnlyComments,
        "comments in place of snapshots",
    ),
    feed("silent", Feed::Silent, "nothing, on an open connection"),
    feed("trickle", Feed::Trickle, "a byte every 10 ms"),
    feed("lag", Feed::Lag, "snapshots that are 10 s old"),
    feed("end", Feed::End, "a clean end at the next snapshot"),
    feed(
        "cut",
        Feed::Cut,
        "the connection is closed at the next snapshot",
    ),
    feed("503", Feed::Unavailable, "503 in place of the feed"),
    feed(
        "html",
        Feed::Page,
        "502 with a web page in place of the feed",
    ),
    no_fault("plan", Setting::Plan(None), "the plan without a fault"),
    plan("empty-object", Plan::EmptyObject, "{}"),
    plan("all-null", Plan::AllNull, "every member is null"),
    plan("no-concurrency", Plan::NoConcurrency, "no concurrency"),
    plan(
        "text-concurrency",
        Plan::TextConcurrency,
        "concurrency: \"eight\"",
    ),
    plan("list", Plan::List, "[]"),
    plan("not-json", Plan::NotJson, "a body that is not JSON"),
    no_fault(
        "models",
        Setting::Models(None),
        "the list of models without a fault",
    ),
    models("empty-object", Models::EmptyObject, "{}"),
    models("no-list", Models::NoList, "data: null"),
    models(
        "bare-list",
        Models::BareList,
        "the list without an object around it",
    ),
    models("null-entry", Models::NullEntry, "one entry is null"),
    models(
        "odd-entries",
        Models::OddEntries,
        "some entries are a number, a string, a list, {} and {\"id\": 7}",
    ),
    models("not-json", Models::NotJson, "a body that is not JSON"),
    models(
        "gzip",
        Models::Gzip,
        "gzip, although the request does not accept it",
    ),
];

/// The values of all switches.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    pub feed: Option<Feed>,
    pub plan: Option<Plan>,
    pub models: Option<Models>,
}

#[derive(Default)]
pub struct Switches(Mutex<Settings>);

impl Switches {
    pub fn get(&self) -> Settings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a switch. The value of `units` is passed to `set_units`.
    pub fn set(&self, Switch(setting): Switch, set_units: impl FnOnce(Option<u32>)) {
        let mut settings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match setting {
            Setting::Feed(feed) => settings.feed = feed,
            Setting::Plan(plan) => settings.plan = plan,
            Setting::Models(models) => settings.models = models,
            Setting::Units(units) => set_units(units),
        }
    }
}

impl Settings {
    /// The name and the value of each switch.
    pub fn named(self) -> [(&'static str, &'static str); 3] {
        let settings = [
            Setting::Feed(self.feed),
            Setting::Plan(self.plan),
            Setting::Models(self.models),
        ];
        settings.map(|setting| {
            let found = SWITCHES.iter().find(|value| value.setting == setting);
            found
                .map(|value| (value.name, value.value))
                .unwrap_or_default()
        })
    }
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("expected NAME=VALUE, for example feed=ping")?;
        let (name, value) = (name.trim(), value.trim());
        if name == "units" {
            let units = match value {
                NO_LIMIT => Ok(None),
                digits => digits.parse().map(Some),
            };
            let units = units.map_err(|_| {
                format!("units must be a number, or {NO_LIMIT} for no limit, but is '{value}'")
            })?;
            return Ok(Self(Setting::Units(units)));
        }
        let values = || SWITCHES.iter().filter(|known| known.name == name);
        if let Some(found) = values().find(|known| known.value == value) {
            return Ok(Self(found.setting));
        }
        let known: Vec<&str> = values().map(|known| known.value).collect();
        if known.is_empty() {
            return Err(format!(
                "unknown switch '{name}': expected feed, plan, models or units"
            ));
        }
        Err(format!(
            "unknown value '{value}' of the switch {name}: expected one of {}",
            known.join(", ")
        ))
    }
}
