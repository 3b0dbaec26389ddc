//! The usage of an answer, whose parts may come in different chunks.

use prost::Message;

use crate::{json, proto::v1::Usage};

/// Merges a chunk's usage into the known one. Some engines send its parts in different chunks. What
/// the chunk lacks is kept.
pub(super) fn add_usage(known: &mut Option<Usage>, piece: Option<Usage>) {
    let Some(mut piece) = piece else { return };
    let Some(known) = known else {
        *known = Some(piece);
        return;
    };
    // A part with an unexpected type does not replace a known one.
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        piece.extra.remove(name);
    }
    // A total that is the sum of its parts is computed again; it may be the gateway's own.
    if is_sum(known) || is_sum(&piece) {
        known.total_tokens = None;
    }
    if is_sum(&piece) {
        piece.total_tokens = None;
    }
    if let Err(error) = known.merge(piece.encode_to_vec().as_slice()) {
        tracing::error!(%error, "usage that was encoded here can't be decoded");
    }
    json::FillRequired::fill_required(known);
}

/// Whether the total is the sum of the parts.
fn is_sum(usage: &Usage) -> bool {
    let parts = usage.prompt_tokens.zip(usage.completion_tokens);
    usage.total_tokens.is_some()
        && usage.total_tokens == parts.and_then(|(prompt, answer)| prompt.checked_add(answer))
}
