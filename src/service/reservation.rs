//! What a request reserves of the limits of its key before it is sent.

use tokio::time::Instant;

use super::{call::Call, model_request::Size};
use crate::{error::Result, keys::Ask, upstream::Catalogue};

/// Reserves what a request of this size to `model` may use of the limits of its key, if it has
/// some. Returns the largest number of tokens of each choice, if the request must say another one
/// than it does.
///
/// # Errors
/// Those of [`Identity::reserve`](crate::keys::Identity::reserve).
pub(super) async fn reserve(
    call: &Call,
    catalogue: &Catalogue,
    model: &str,
    size: Size,
) -> Result<Option<u64>> {
    if !call.identity.is_metered() {
        return Ok(None);
    }
    let Size {
        prompt_tokens,
        generations: choices,
        max_tokens,
        max_tokens_default,
    } = size;
    let of_model = || {
        let catalogue = catalogue.current()?;
        let max_tokens = catalogue.model(model)?.max_completion_tokens?;
        u64::try_from(max_tokens).ok()
    };
    let max_tokens = max_tokens.or(max_tokens_default);
    let ask = Ask {
        prompt_tokens,
        choices,
        max_tokens,
        model_max_tokens: match max_tokens {
            Some(_) => None,
            None => of_model(),
        },
    };
    let allowance = call
        .identity
        .reserve(ask, Instant::now().into_std())
        .await?;
    let max_tokens = allowance.max_tokens();
    call.set_allowance(allowance);
    Ok(max_tokens)
}
