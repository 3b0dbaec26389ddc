//! A page of the catalogue by query parameters: `ListModelsRequest` as its `google.api.http` rule
//! maps it to a query.

use crate::{
    error::{Error, Result},
    proto::v1::{ListModelsRequest, ModelFilter},
};

const OF_A_PAGE: &str = "page_size, page_token, filter.search, filter.family, filter.gated and \
                         filter.available_on_current_plan";
const OF_THE_UPSTREAM: &str = "q, page, per_page, family, tags and available_on_current_plan";

/// The request for a page, if the query has any of a page's parameters.
///
/// # Errors
/// Invalid for a value of the wrong type, a parameter that is there twice, an unknown one of
/// `filter`, and others beside them.
pub fn read(query: &[(String, String)]) -> Result<Option<ListModelsRequest>> {
    let is_of_a_page = |name: &str| {
        matches!(name, "page_size" | "page_token" | "filter") || name.starts_with("filter.")
    };
    let of_a_page = query.iter().filter(|(name, _)| is_of_a_page(name)).count();
    if of_a_page == 0 {
        return Ok(None);
    }
    if of_a_page < query.len() {
        let problem = format!(
            "a page is asked for by {OF_A_PAGE}; a search, by {OF_THE_UPSTREAM}: take one or the \
             other"
        );
        return Err(Error::invalid("query", problem));
    }
    let mut request = ListModelsRequest::default();
    let mut filter = ModelFilter::default();
    for (number, (name, value)) in query.iter().enumerate() {
        match name.as_str() {
            _ if query.iter().take(number).any(|(before, _)| before == name) => {
                return Err(Error::invalid(
                    "query",
                    format!("a parameter of {OF_A_PAGE} is there twice"),
                ));
            }
            "page_size" => {
                let problem = format!("expected an integer from 0 to {}", i32::MAX);
                request.page_size = value
                    .parse()
                    .map_err(|_| Error::invalid("page_size", problem))?;
            }
            "page_token" => request.page_token.clone_from(value),
            "filter.search" => filter.search.clone_from(value),
            "filter.family" => filter.family.clone_from(value),
            "filter.gated" => filter.gated = Some(truth("filter.gated", value)?),
            "filter.available_on_current_plan" => {
                filter.available_on_current_plan =
                    Some(truth("filter.available_on_current_plan", value)?);
            }
            _ => {
                return Err(Error::invalid(
                    "filter",
                    format!("unknown: a page is asked for by {OF_A_PAGE}"),
                ));
            }
        }
    }
    request.filter = (filter != ModelFilter::default()).then_some(filter);
    Ok(Some(request))
}

fn truth(name: &'static str, value: &str) -> Result<bool> {
    value
        .parse()
        .map_err(|_| Error::invalid(name, "expected true or false"))
}
