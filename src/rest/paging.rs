//! The query of `GET /v1/models`: for the whole catalogue, for one page of it, or for the
//! upstream's own search. The parameters of a page are the fields of `ListModelsRequest`, as its
//! `google.api.http` rule maps them.

use axum::extract::Query;
use http::Uri;

use crate::{
    error::{Error, Result},
    proto::v1::{ListModelsRequest, ModelFilter},
};

const PAGE_PARAMETERS: &str = "page_size, page_token, filter.search, filter.family, filter.gated \
                               and \
                         filter.available_on_current_plan";
const SEARCH_PARAMETERS: &str = "q, page, per_page, family, tags and available_on_current_plan";

/// The query of a request for models.
#[derive(Debug)]
pub(super) enum ModelsQuery {
    /// The whole catalogue.
    Complete,
    /// One page of it.
    Page(ListModelsRequest),
    /// The upstream's own search, by these parameters.
    Search(Vec<(String, String)>),
}

impl ModelsQuery {
    /// Reads the query of `uri`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a query that is not `name=value&…`, or
    /// that mixes parameters or has a bad one.
    pub(super) fn read(uri: &Uri) -> Result<Self> {
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Error::invalid("query", "expected name=value&…").with_source(error))?;
        if query.is_empty() {
            return Ok(Self::Complete);
        }
        Ok(page(&query)?.map_or(Self::Search(query), Self::Page))
    }
}

/// The request for a page. `None` if the query has no parameter of a page.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value of the wrong type, a repeated
/// parameter, an unknown field of `filter`, or an additional parameter of the upstream's search.
fn page(query: &[(String, String)]) -> Result<Option<ListModelsRequest>> {
    let is_page_parameter = |name: &str| {
        matches!(name, "page_size" | "page_token" | "filter") || name.starts_with("filter.")
    };
    let page_parameters = query
        .iter()
        .filter(|(name, _)| is_page_parameter(name))
        .count();
    if page_parameters == 0 {
        return Ok(None);
    }
    if page_parameters < query.len() {
        let problem = format!(
            "a page has the parameters {PAGE_PARAMETERS}; a search has {SEARCH_PARAMETERS}: use \
             one or the other"
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
                    format!("each of {PAGE_PARAMETERS} may be given only once"),
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
            "filter.gated" => filter.gated = Some(boolean("filter.gated", value)?),
            "filter.available_on_current_plan" => {
                filter.available_on_current_plan =
                    Some(boolean("filter.available_on_current_plan", value)?);
            }
            _ => {
                return Err(Error::invalid(
                    "filter",
                    format!("unknown: a page has the parameters {PAGE_PARAMETERS}"),
                ));
            }
        }
    }
    request.filter = (filter != ModelFilter::default()).then_some(filter);
    Ok(Some(request))
}

fn boolean(name: &'static str, value: &str) -> Result<bool> {
    value
        .parse()
        .map_err(|_| Error::invalid(name, "expected true or false"))
}
