//! Fallback models.

/// A model, and the models that may answer in its place.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The requested model.
    pub model: String,
    /// The models that may answer instead, in order.
    pub others: Vec<String>,
}

pub(super) fn fallback(text: &str) -> Result<Fallback, String> {
    let (model, others) = text.split_once('=').unwrap_or_default();
    let others: Vec<_> = others
        .split(',')
        .map(|other| other.trim().to_owned())
        .collect();
    if model.trim().is_empty() || others.iter().any(String::is_empty) {
        return Err(
            "expected MODEL=OTHER or MODEL=OTHER,OTHER, such as org/large=org/small".to_owned(),
        );
    }
    let model = model.trim();
    if others.iter().any(|other| other == model) {
        return Err(
            "a model cannot be its own fallback: name another model, as in org/large=org/small"
                .to_owned(),
        );
    }
    Ok(Fallback {
        model: model.to_owned(),
        others,
    })
}
