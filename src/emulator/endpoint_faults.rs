//! The faults that switches set: faults of the plan, of the list of models, and of the feed of
//! units.

use serde_json::{Map, Value, json};

/// A fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanFault {
    EmptyObject,
    AllNull,
    NoConcurrency,
    TextConcurrency,
    List,
    NotJson,
}

/// A fault of the list of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelListFault {
    EmptyObject,
    NoList,
    BareList,
    NullEntry,
    OddEntries,
    NotJson,
    Gzip,
}

/// A fault of the feed of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedFault {
    // Faults of a snapshot. They also apply to `/account/concurrency`.
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
    // Additional events between the snapshots.
    EmptyObject,
    Ping,
    Error,
    BrokenJson,
    // Events in place of the snapshots.
    OnlyPings,
    OnlyComments,
    // Faults of the transport.
    Silent,
    Trickle,
    Lag,
    End,
    Cut,
    // Responses in place of the feed.
    Unavailable,
    Page,
}

impl FeedFault {
    /// Applies a fault of a snapshot.
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

    /// The data of the additional event between two snapshots.
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
