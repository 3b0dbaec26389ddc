//! The formats of reasoning in an answer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// In this member, beside the content.
    Member(&'static str),
    /// In a member `reasoning` that is an object.
    Object,
    /// In the content, between `<think>` and `</think>`.
    Inline,
    /// In the content, after a `<think>` without `</think>`.
    Open,
}

/// The format of a model that was asked to reason.
pub const DEFAULT: ReasoningFormat = ReasoningFormat::Member("reasoning_content");

impl ReasoningFormat {
    /// The name and the value of the member that has the reasoning. `None` if the reasoning is in
    /// the content.
    pub fn member(self, reasoning: String) -> Option<(&'static str, serde_json::Value)> {
        match self {
            Self::Member(name) => Some((name, reasoning.into())),
            Self::Object => Some(("reasoning", serde_json::json!({ "text": reasoning }))),
            Self::Inline | Self::Open => None,
        }
    }

    /// The pieces at the start of the content that have the reasoning. Empty if the reasoning has
    /// its own member.
    pub fn inlined(self, reasoning: &[String]) -> Vec<String> {
        let end = match self {
            Self::Inline => Some("\n</think>\n\n"),
            Self::Open => Some("\n\n"),
            Self::Member(_) | Self::Object => return Vec::new(),
        };
        let tags = |tag: &str| tag.to_owned();
        let reasoning = std::iter::once(tags("<think>\n")).chain(reasoning.iter().cloned());
        reasoning.chain(end.map(tags)).collect()
    }
}
