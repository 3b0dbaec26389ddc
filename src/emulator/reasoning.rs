//! The formats of reasoning in an answer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// In this member, beside the content.
    Beside(&'static str),
    /// In a member `reasoning` that is an object.
    Object,
    /// In the content, between `<think>` and `</think>`.
    Inline,
    /// In the content, after a `<think>` without `</think>`.
    Open,
}

/// The format of a model that was asked to reason.
pub const USUAL: ReasoningFormat = ReasoningFormat::Beside("reasoning_content");

impl ReasoningFormat {
    /// The name and the value of the member that has the reasoning. `None` if the reasoning is
    /// in
    /// the content.
    pub fn member(self, thoughts: String) -> Option<(&'static str, serde_json::Value)> {
        match self {
            Self::Beside(name) => Some((name, thoughts.into())),
            Self::Object => Some(("reasoning", serde_json::json!({ "text": thoughts }))),
            Self::Inline | Self::Open => None,
        }
    }

    /// The pieces at the start of the content that have the reasoning. Empty if the reasoning
    /// has
    /// its own member.
    pub fn inlined(self, thoughts: &[String]) -> Vec<String> {
        let end = match self {
            Self::Inline => Some("\n</think>\n\n"),
            Self::Open => Some("\n\n"),
            Self::Beside(_) | Self::Object => return Vec::new(),
        };
        let tags = |tag: &str| tag.to_owned();
        let thoughts = std::iter::once(tags("<think>\n")).chain(thoughts.iter().cloned());
        thoughts.chain(end.map(tags)).collect()
    }
}
