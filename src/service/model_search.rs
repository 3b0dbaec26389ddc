//! A search for models at the upstreams that have one.

use tokio::time::timeout;

use super::{call::Call, models::options};
use crate::{
    error::{Error, ErrorCode, Result},
    proto::v1::{ListModelsResponse, Model},
    upstream::{
        self, Client,
        catalogue::{self, LIST_TIMEOUT},
    },
};

/// Asks one upstream for the models that match its own search parameters.
pub(super) async fn search_at(
    upstream: &Client,
    query: &[(&str, &str)],
    call: &Call,
) -> Result<upstream::Reply<ListModelsResponse>> {
    let mut reply: upstream::Reply<ListModelsResponse> =
        upstream.get(&["models"], query, options(call)).await?;
    catalogue::keep_models(&mut reply.answer);
    Ok(reply)
}

/// The result of asking one of `number` upstreams. One of several that hangs must not keep the
/// answers of the others back.
pub(super) async fn in_time<T>(
    asking: impl Future<Output = Result<T>>,
    number: usize,
) -> Result<T> {
    if number < 2 {
        return asking.await;
    }
    let late = || {
        let seconds = LIST_TIMEOUT.as_secs();
        let message = format!("An upstream took longer than {seconds} s");
        Error::new(ErrorCode::UpstreamTimeout, message)
    };
    let asked = timeout(LIST_TIMEOUT, asking).await;
    asked.unwrap_or_else(|_| Err(late()))
}

/// The text of a search for its first page. `None` for other pages, and with a filter that only the
/// upstream understands.
pub(super) fn searched_text<'a>(query: &[(&str, &'a str)]) -> Option<&'a str> {
    let value = |name: &str| {
        let parameter = query.iter().find(|(key, _)| *key == name);
        parameter.map(|(_, value)| *value)
    };
    let is_first_page = value("page").is_none_or(|page| page == "1");
    let is_filtered = ["family", "tags", "available_on_current_plan"]
        .iter()
        .any(|name| value(name).is_some());
    value("q").filter(|_| is_first_page && !is_filtered)
}

/// Adds the models of another upstream that are not among those `found`.
pub(super) fn add_new(found: &mut Vec<Model>, more: Vec<Model>) {
    for model in more {
        if !found.iter().any(|known| known.id == model.id) {
            found.push(model);
        }
    }
}
