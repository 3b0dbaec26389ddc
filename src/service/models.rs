//! `ModelService`: the catalogue, by pages or complete, single models, and their tokens.

use std::{collections::BTreeMap, hash::Hasher, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    accounts::{Accounts, Turn, no_account_has},
    call::Call,
    model_search::{add_new, in_time, search_at, searched_text},
    prepared,
    reply::Reply,
    validate,
};
use crate::{
    coding::{Accepted, Coding},
    error::{Error, Result},
    proto::v1::{
        GetModelRequest, ListModelsRequest, ListModelsResponse, Model, ModelFilter,
        TokenizeRequest, TokenizeResponse,
    },
    upstream::{self, Catalogue, RequestOptions, UnaryMessage, catalogue::Snapshot},
};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// The service of models.
#[derive(Clone, Debug)]
pub struct Models {
    accounts: Accounts,
    catalogue: Catalogue,
}

/// The complete catalogue, for the REST door.
#[derive(Debug)]
pub struct WholeCatalogue {
    /// The list of models as a JSON document.
    pub list: Bytes,
    /// How the list is compressed.
    pub coding: Option<Coding>,
    /// How long ago it was fetched.
    pub age: Duration,
}

impl Models {
    /// The service over the upstreams of `accounts` and their `catalogue`.
    pub fn new(accounts: Accounts, catalogue: Catalogue) -> Self {
        Self {
            accounts,
            catalogue,
        }
    }

    /// The complete catalogue as it is cached, in the coding that the caller accepts. For a key that
    /// may use only some models, the list has only these, and is not compressed.
    ///
    /// # Errors
    /// The meaning of the upstream's reply to the first fetch.
    pub async fn whole(&self, call: Call, accepted: Accepted) -> Result<WholeCatalogue> {
        call.note_rpc("ListModels");
        let whole = async {
            let copy = self.catalogue.get(options(&call)).await?;
            let identity = &call.identity;
            let is_limited = identity.is_limited_to_models() || identity.is_pinned();
            let list = match is_limited {
                true => copy.list_of(|id| self.may_see(&call, &copy, id)),
                false => copy.list(),
            };
            let coding = accepted.coding(list.len()).filter(|_| !is_limited);
            let list = match coding {
                Some(coding) => copy.list_in(coding).await?,
                None => list,
            };
            Ok(WholeCatalogue {
                list,
                coding,
                age: copy.age(),
            })
        };
        call.run(whole).await
    }

    /// The models that match the upstream's own search parameters. The upstream decides what these
    /// mean. A model is shown as in the complete list, after its aliases.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for an invalid page or size; otherwise the
    /// meaning of the upstream's reply.
    pub async fn search(
        &self,
        call: Call,
        query: &[(String, String)],
    ) -> Result<Reply<ListModelsResponse>> {
        call.note_rpc("ListModels");
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let searching = async {
            query
                .iter()
                .try_for_each(|(name, value)| validate::search_parameter(name, value))?;
            let allowed = self.accounts.allowed(&call.identity)?;
            let asked = self.accounts.with_search(allowed);
            let searches = asked.iter().map(|account| async {
                let search = search_at(&account.client, &query, &call);
                let mut reply = in_time(search, asked.len()).await?;
                let models = &mut reply.answer.models;
                models.retain(|model| self.accounts.accepts(allowed, account, &model.id));
                Ok(reply)
            });
            let mut found: Result<upstream::Reply<ListModelsResponse>> =
                Err(Error::internal("a gateway without an upstream"));
            for (place, reply) in join_all(searches).await.into_iter().enumerate() {
                match (&mut found, reply) {
                    (Ok(found), Ok(more)) => add_new(&mut found.answer.models, more.answer.models),
                    (Err(_), Ok(reply)) => found = Ok(reply),
                    (_, Err(error)) if place == 0 => found = Err(error),
                    // The models of the others are of use without these.
                    (_, Err(_)) => {}
                }
            }
            let asked = asked.iter().map(|account| account.source_bit());
            found.map(|reply| (reply, asked.fold(0, |set, bit| set | bit)))
        };
        let (mut reply, asked) = call.run(searching).await?;
        reply.answer.models = self.catalogue.names().show(reply.answer.models);
        if let Some(text) = searched_text(&query) {
            self.add_unasked(text, asked, &mut reply.answer.models);
            self.add_aliases(text, &mut reply.answer.models);
        }
        let models = &mut reply.answer.models;
        let (identity, names) = (&call.identity, self.catalogue.names());
        models.retain(|model| {
            identity.may_use(&model.id) || identity.may_use(names.resolve(&model.id))
        });
        // What the catalogue does not know may be at any account.
        if let Some(copy) = self.catalogue.current().filter(|_| identity.is_pinned()) {
            models.retain(|model| !copy.has(&model.id) || self.may_see(&call, &copy, &model.id));
        }
        Ok(reply.into())
    }

    /// Whether the key of the call may use the model with this id or alias, and one of its accounts
    /// has it.
    fn may_see(&self, call: &Call, copy: &Snapshot, id: &str) -> bool {
        let (identity, names) = (&call.identity, self.catalogue.names());
        let model = names.resolve(id);
        let has_account = || {
            let allowed = self.accounts.allowed(identity);
            allowed.is_ok_and(|allowed| self.accounts.may_have(allowed, model, copy))
        };
        (identity.may_use(id) || identity.may_use(model))
            && (!identity.is_pinned() || has_account())
    }

    /// Adds the models that match the searched `text` and that no `asked` upstream lists, as the
    /// catalogue has them: at most a page.
    fn add_unasked(&self, text: &str, asked: u64, models: &mut Vec<Model>) {
        let copy = self.catalogue.current();
        let copy = copy.filter(|_| self.accounts.are_several() && !text.is_empty());
        let Some(copy) = copy else { return };
        let filter = ModelFilter {
            search: text.to_owned(),
            ..ModelFilter::default()
        };
        let is_unasked = |id: &str| {
            let sources = copy.sources(id);
            sources != 0 && sources & asked == 0
        };
        let page = copy.page(&filter, is_unasked, None, PAGE_SIZE_DEFAULT);
        add_new(models, page.models);
    }

    /// Adds the aliases that match the searched `text`, which the upstream does not know.
    fn add_aliases(&self, text: &str, models: &mut Vec<Model>) {
        let searched = text.to_lowercase();
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

    /// One page of the models that match the filter.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a page token of another list; otherwise
    /// the meaning of the upstream's reply.
    pub async fn list(&self, call: Call, request: ListModelsRequest) -> Result<ListModelsResponse> {
        call.note_rpc("ListModels");
        let filter = request.filter.unwrap_or_default();
        let listing = async {
            let size = match usize::try_from(request.page_size) {
                Ok(0) => PAGE_SIZE_DEFAULT,
                Ok(size) => size.min(PAGE_SIZE_MAX),
                Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
            };
            let after = read_token(&request.page_token, &filter)?;
            let copy = self.catalogue.get(options(&call)).await?;
            let may_see = |id: &str| self.may_see(&call, &copy, id);
            Ok((copy.page(&filter, may_see, after, size), copy.age()))
        };
        let (page, age) = call.run(listing).await?;
        let last = page.models.last().filter(|_| page.has_more);
        Ok(ListModelsResponse {
            next_page_token: last.map(|last| token(&last.id, &filter)),
            total_size: Some(i32::try_from(page.total).unwrap_or(i32::MAX)),
            age_ms: i64::try_from(age.as_millis()).unwrap_or(i64::MAX),
            models: page.models,
            ..ListModelsResponse::default()
        })
    }

    /// One model: from the catalogue if it is there, else from the upstream. For an alias, the
    /// entry of its model under the alias's id.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) with similar names;
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) for a model that the key may not use;
    /// otherwise the meaning of the upstream's reply.
    pub async fn get(&self, call: Call, request: GetModelRequest) -> Result<Reply<Model>> {
        call.note_rpc("GetModel");
        let reply = async {
            validate::model(&request.model)?;
            let names = self.catalogue.names();
            let real = names.resolve(&request.model);
            call.identity.check_model(real, &request.model)?;
            let allowed = self.accounts.allowed(&call.identity)?;
            let copy = self.catalogue.current();
            let copy = copy.filter(|copy| self.may_see(&call, copy, &request.model));
            if let Some(answer) = copy.and_then(|copy| copy.model(&request.model)) {
                return Ok(Reply::new(answer));
            }
            let path: Vec<&str> = ["models"].into_iter().chain(real.split('/')).collect();
            let options = RequestOptions {
                model: Some(real),
                ..options(&call)
            };
            let asked = self.accounts.with_model(allowed, real);
            let answers = asked.iter().map(|account| {
                let answer = account.client.get::<Model>(&path, &[], options);
                in_time(answer, asked.len())
            });
            let mut failure = None;
            for answer in join_all(answers).await {
                match answer {
                    Ok(mut reply) => {
                        if real != request.model {
                            reply.answer.id.clone_from(&request.model);
                        }
                        return Ok(reply.into());
                    }
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            let failure = failure.unwrap_or_else(|| no_account_has(real));
            Err(self.catalogue.suggest(real, failure).await)
        };
        call.run(reply).await
    }

    /// Splits a text into the tokens of a model.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for an invalid field; otherwise the meaning
    /// of the upstream's reply.
    pub async fn tokenize(
        &self,
        call: Call,
        request: Box<TokenizeRequest>,
    ) -> Result<Reply<TokenizeResponse>> {
        call.note_rpc("Tokenize");
        let names = self.catalogue.names();
        let reply = async {
            let identity = call.identity.clone();
            let check = move |request: &mut TokenizeRequest| {
                validate::tokenize(request)?;
                let real = names.resolve(&request.model).to_owned();
                identity.check_model(&real, &request.model)?;
                request.model = real;
                Ok(Arc::from(request.model.as_str()))
            };
            let (request, model) = prepared::validate(&call, request, check).await?;
            let model: Arc<str> = model;
            let prepared = request.encode(Arc::clone(&model), None, |_| ()).await?;
            let options = RequestOptions {
                model: Some(&model),
                ..options(&call)
            };
            let allowed = self.accounts.allowed(&call.identity)?;
            let mut turn = Turn::begin(&self.accounts, allowed, &model).await;
            let body = prepared.into_body();
            loop {
                let account = turn.next(&call)?;
                let reply: Result<upstream::Reply<TokenizeResponse>> = match turn.pass(account) {
                    Ok(pass) => {
                        let asking = account.client.post(&["tokenize"], body.clone(), options);
                        let reply = asking.await;
                        pass.record(&reply);
                        reply
                    }
                    Err(error) => Err(error),
                };
                match reply {
                    Ok(reply) => return Ok(reply.into()),
                    Err(error) => turn.take_error(account, error)?,
                }
            }
        };
        call.run(reply).await
    }
}

pub(super) fn options(call: &Call) -> RequestOptions<'_> {
    RequestOptions {
        deadline: call.deadline,
        ..RequestOptions::default()
    }
}

/// The token of a page is the last id of the page before it, so it stays valid when the catalogue
/// is refreshed. A fingerprint of the filter is in it, so it is not accepted for another list.
fn token(last: &str, filter: &ModelFilter) -> String {
    format!("{:08x}.{last}", fingerprint(filter))
}

fn read_token<'a>(token: &'a str, filter: &ModelFilter) -> Result<Option<&'a str>> {
    if token.is_empty() {
        return Ok(None);
    }
    match token.split_once('.') {
        Some((filter_print, last)) if filter_print == format!("{:08x}", fingerprint(filter)) => {
            Ok(Some(last))
        }
        _ => {
            let problem =
                "not a token of this list: send next_page_token unchanged, with the same filter";
            Err(Error::invalid("page_token", problem))
        }
    }
}

fn fingerprint(filter: &ModelFilter) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&prost::Message::encode_to_vec(filter));
    // Half of the hash is enough to tell one list from another.
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
    // No model matches the search.
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
    // An empty text has no tokens.
    const MAY_BE_EMPTY: &'static [&'static str] = &["tokens"];

    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn extra_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.extra
    }

    fn is_empty(&self) -> bool {
        // A list in an unknown form is in `extra`, and is an answer too.
        self.tokens.is_empty() && !self.extra.contains_key("tokens")
    }
}
