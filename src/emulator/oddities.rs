//! What the switches can make wrong: the plan, the list of models, and the feed of units.

use serde_json::{Map, Value, json};

/// What is wrong with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanOddity {
    EmptyObject,
    AllNull,
    NoConcurrency,
    TextConcurrency,
    List,
    NotJson,
}

/// What is wrong with the list of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelsOddity {
    EmptyObject,
    NoList,
    BareList,
    NullEntry,
    OddEntries,
    NotJson,
    Gzip,
}

/// What is wrong with the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedOddity {
    // Members of every snapshot, also of the single one.
    NoLimit,
    NullLimit,
    FloatLimit,
    TextLimit,
    HugeLimit,
    ZeroLimit,
    NegativeLimit,
    NoUsedCost,
    NullUsedCost,
    TextUsedCost,
    NegativeUsedCost,
    NoRequests,
    // Events between the snapshots.
    EmptyObject,
    Ping,
    Error,
    BrokenJson,
    // Events in place of the snapshots.
    OnlyPings,
    OnlyComments,
    // The way of the bytes.
    Silent,
    Trickle,
    Lag,
    End,
    Cut,
    // Answers in place of the feed.
    Unavailable,
    Page,
}

impl FeedOddity {
    /// Makes the members of a snapshot odd.
    pub fn edit(self, snapshot: &mut Map<String, Value>) {
        let (name, value) = match self {
            Self::NoLimit => ("limit", None),
            Self::NullLimit => ("limit", Some(Value::Null)),
            Self::FloatLimit => {
                let limit = snapshot.get("limit").and_then(Value::as_f64);
                ("limit", Some(json!(limit)))
            }
            Self::TextLimit => {
                let limit = snapshot.get("limit").map(Value::to_string);
                ("limit", Some(json!(limit)))
            }
            Self::HugeLimit => ("limit", Some(json!(99_999_999_999_u64))),
            Self::ZeroLimit => ("limit", Some(json!(0))),
            Self::NegativeLimit => ("limit", Some(json!(-1))),
            Self::NoUsedCost => ("used_cost", None),
            Self::NullUsedCost => ("used_cost", Some(Value::Null)),
            Self::TextUsedCost => ("used_cost", Some(json!("none"))),
            Self::NegativeUsedCost => ("used_cost", Some(json!(-1))),
            Self::NoRequests => ("requests", None),
            _ => return,
        };
        match value {
            Some(value) => snapshot.insert(name.to_owned(), value),
            None => snapshot.remove(name),
        };
    }

    /// The event that stands between two snapshots.
    pub fn between(self) -> Option<&'static str> {
        match self {
            Self::EmptyObject => Some("{}"),
            Self::Ping | Self::OnlyPings => Some(r#"{"type":"ping"}"#),
            Self::Error => Some(r#"{"error":"no data in 30000ms"}"#),
            Self::BrokenJson => Some(r#"{"limit":8,"used_"#),
            _ => None,
        }
    }
}
