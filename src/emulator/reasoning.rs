//! How a model's thinking shows in its answer.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// In this member, beside the content.
    Beside(&'static str),
    /// In a member `reasoning` that is an object.
    Object,
    /// In the content, between `<think>` and `</think>`.
    Inline,
    /// In the content, after a `<think>` that nothing closes.
    Open,
}

/// The spelling of a model that was asked to think.
pub const USUAL: ReasoningFormat = ReasoningFormat::Beside("reasoning_content");

impl ReasoningFormat {
    /// The member beside the content that holds the thoughts, if one does, and its value.
    pub fn member(self, thoughts: String) -> Option<(&'static str, serde_json::Value)> {
        match self {
            Self::Beside(name) => Some((name, thoughts.into())),
            Self::Object => Some(("reasoning", serde_json::json!({ "text": thoughts }))),
            Self::Inline | Self::Open => None,
        }
    }

    /// The pieces of a content that begins with these thoughts, if that is where they show.
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
