//! `ModelService`: the catalogue, page by page or whole, single models, and their tokens.

use std::collections::BTreeMap;

use std::{hash::Hasher, time::Duration};

use bytes::Bytes;

use super::{Call, Reply, prepared, validate};
use crate::{
    error::{Error, Result},
    proto::v1::{
        GetModelRequest, ListModelsRequest, ListModelsResponse, Model, ModelFilter,
        TokenizeRequest, TokenizeResponse,
    },
    upstream::{self, Catalogue, Client, RequestOptions, UnaryMessage, catalogue},
};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// Knows the models.
#[derive(Clone, Debug)]
pub struct Models {
    upstream: Client,
    catalogue: Catalogue,
}

/// The whole catalogue, for the REST door.
#[derive(Debug)]
pub struct WholeCatalogue {
    /// The list of its models as a JSON document.
    pub list: Bytes,
    /// How long ago they were fetched.
    pub age: Duration,
}

impl Models {
    /// The service over this upstream.
    pub fn new(upstream: Client, catalogue: Catalogue) -> Self {
        Self {
            upstream,
            catalogue,
        }
    }

    /// The whole catalogue, as it is kept, compressed by gzip if that `is_gzip`.
    ///
    /// # Errors
    /// What the upstream's reply to the first fetch means.
    pub async fn whole(&self, call: Call, is_gzip: bool) -> Result<WholeCatalogue> {
        let ask = RequestOptions {
            deadline: call.deadline,
            ..RequestOptions::default()
        };
        let whole = async {
            let copy = self.catalogue.get(ask).await?;
            let list = if is_gzip {
                copy.list_gzip().await?
            } else {
                copy.list()
            };
            Ok(WholeCatalogue {
                list,
                age: copy.age(),
            })
        };
        call.run(whole).await
    }

    /// What of the catalogue passes the upstream's own query parameters: the upstream knows best
    /// what they mean. A model that passes is shown as it is in the whole list, and after its
    /// aliases.
    ///
    /// # Errors
    /// Invalid for a page or a size that isn't one; otherwise what the upstream's reply means.
    pub async fn query(
        &self,
        call: Call,
        query: &[(&str, &str)],
    ) -> Result<Reply<ListModelsResponse>> {
        call.refuse(
            query
                .iter()
                .try_for_each(|(name, value)| validate::models_query(name, value)),
        )?;
        let ask = RequestOptions {
            deadline: call.deadline,
            ..RequestOptions::default()
        };
        let mut reply: upstream::Reply<ListModelsResponse> =
            call.run(self.upstream.get(&["models"], query, ask)).await?;
        catalogue::keep_models(&mut reply.answer);
        reply.answer.models = self.catalogue.names().show(reply.answer.models);
        self.add_aliases(query, &mut reply.answer.models);
        Ok(reply.into())
    }

    /// Adds the aliases that are searched for, which the upstream knows nothing of, to the first
    /// page.
    fn add_aliases(&self, query: &[(&str, &str)], models: &mut Vec<Model>) {
        let text = |name: &str| {
            query
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        let is_first_page = text("page").is_none_or(|page| page == "1");
        let is_filtered = ["family", "tags", "available_on_current_plan"]
            .iter()
            .any(|name| text(name).is_some());
        let (Some(searched), false, true) = (text("q"), is_filtered, is_first_page) else {
            return;
        };
        let searched = searched.to_lowercase();
        for (alias, _) in self.catalogue.names().aliases() {
            if alias.to_lowercase().contains(&searched)
                && !models.iter().any(|model| model.id == alias)
            {
                let known = self.catalogue.current().and_then(|copy| copy.model(alias));
                models.push(known.unwrap_or_else(|| Model {
                    id: alias.to_owned(),
                    ..Model::default()
                }));
            }
        }
    }

    /// One page of the models that pass the filter.
    ///
    /// # Errors
    /// Invalid for a page token that isn't of this list; otherwise what the upstream's reply means.
    pub async fn list(&self, call: Call, request: ListModelsRequest) -> Result<ListModelsResponse> {
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return call.refuse(Err(Error::invalid("page_size", "must not be negative"))),
        };
        let filter = request.filter.unwrap_or_default();
        let after = call.refuse(read_token(&request.page_token, &filter))?;
        let ask = RequestOptions {
            deadline: call.deadline,
            ..RequestOptions::default()
        };
        let copy = call.run(self.catalogue.get(ask)).await?;
        let page = copy.page(&filter, after, size);
        let last = page.models.last().filter(|_| page.has_more);
        Ok(ListModelsResponse {
            next_page_token: last.map(|last| token(&last.id, &filter)),
            total_size: Some(i32::try_from(page.total).unwrap_or(i32::MAX)),
            age_ms: i64::try_from(copy.age().as_millis()).unwrap_or(i64::MAX),
            models: page.models,
            ..ListModelsResponse::default()
        })
    }

    /// One model: from the catalogue if it is there, else from the upstream. An alias gives its
    /// model's entry under the alias's id.
    ///
    /// # Errors
    /// Not found, with names that are near; otherwise what the upstream's reply means.
    pub async fn get(&self, call: Call, request: GetModelRequest) -> Result<Reply<Model>> {
        let reply = async {
            validate::model(&request.model)?;
            if let Some(answer) = self
                .catalogue
                .current()
                .and_then(|copy| copy.model(&request.model))
            {
                return Ok(Reply::new(answer));
            }
            let real = self.catalogue.names().resolve(&request.model);
            let path: Vec<&str> = ["models"].into_iter().chain(real.split('/')).collect();
            let ask = RequestOptions {
                deadline: call.deadline,
                model: Some(real),
                ..RequestOptions::default()
            };
            match self.upstream.get::<Model>(&path, &[], ask).await {
                Ok(mut reply) => {
                    if real != request.model {
                        reply.answer.id.clone_from(&request.model);
                    }
                    Ok(reply.into())
                }
                Err(error) => Err(self.catalogue.suggest(real, error).await),
            }
        };
        call.run(reply).await
    }

    /// Splits a text into a model's tokens.
    ///
    /// # Errors
    /// Invalid for a bad field; otherwise what the upstream's reply means.
    pub async fn tokenize(
        &self,
        call: Call,
        request: TokenizeRequest,
    ) -> Result<Reply<TokenizeResponse>> {
        let names = self.catalogue.names().clone();
        let reply = async {
            let check = move |request: &mut TokenizeRequest| {
                validate::tokenize(request)?;
                request.model = names.resolve(&request.model).to_owned();
                Ok((request.model.clone(), request.model.clone()))
            };
            let (prepared, model) = prepared::prepare(&call, request, check).await?;
            let ask = RequestOptions {
                deadline: call.deadline,
                model: Some(&model),
                ..RequestOptions::default()
            };
            let reply: upstream::Reply<TokenizeResponse> = self
                .upstream
                .post(&["tokenize"], prepared.into_body(), ask)
                .await?;
            Ok(reply.into())
        };
        call.run(reply).await
    }
}

/// A page's token is the last id of the page before, so that it stays right when the catalogue is
/// refreshed, with a print of the filter, so that it isn't taken for another list's.
fn token(last: &str, filter: &ModelFilter) -> String {
    format!("{:08x}.{last}", print(filter))
}

fn read_token<'a>(token: &'a str, filter: &ModelFilter) -> Result<Option<&'a str>> {
    if token.is_empty() {
        return Ok(None);
    }
    match token.split_once('.') {
        Some((filter_print, last)) if filter_print == format!("{:08x}", print(filter)) => {
            Ok(Some(last))
        }
        _ => {
            let problem = "not a token of this list: take next_page_token as it is, and keep the \
                           filter as it was";
            Err(Error::invalid("page_token", problem))
        }
    }
}

fn print(filter: &ModelFilter) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&prost::Message::encode_to_vec(filter));
    // Half of it will do to tell one list from another.
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

impl UnaryMessage for Model {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        self.id.is_empty() && !self.extra.contains_key("id")
    }
}

impl UnaryMessage for ListModelsResponse {
    // A query that nothing passes.
    const MAY_BE_EMPTY: &'static [&'static str] = &["data"];

    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        self.models.is_empty() && !self.extra.contains_key("data")
    }
}

impl UnaryMessage for TokenizeResponse {
    // No text has no tokens.
    const MAY_BE_EMPTY: &'static [&'static str] = &["tokens"];

    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        // What came in a form that we don't know is in `extra`, and is an answer all the same.
        self.tokens.is_empty() && !self.extra.contains_key("tokens")
    }
}
