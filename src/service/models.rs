//! `ModelService`: the catalogue, page by page or whole, and single models.

use tonic::{Request, Response, Status, async_trait};

use super::{Call, into_response, validate};
use crate::{
    error::{Error, Result},
    proto::v1::{GetModelRequest, ListModelsRequest, ListModelsResponse, Model, ModelFilter, model_service_server},
    upstream::{Ask, Client, Reply},
};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// Knows the models.
#[derive(Clone, Debug)]
pub struct Models {
    upstream: Client,
}

impl Models {
    /// The service over this upstream.
    pub fn new(upstream: Client) -> Self {
        Self { upstream }
    }

    /// The catalogue, or what of it passes the upstream's own query parameters, in one answer.
    ///
    /// # Errors
    /// What the upstream's reply means.
    pub async fn list_all(&self, call: Call, query: &[(&str, &str)]) -> Result<Reply<ListModelsResponse>> {
        let ask = Ask { deadline: call.deadline, model: None };
        call.logged(self.upstream.get(&["models"], query, ask).await)
    }

    /// One page of the models that pass the filter.
    ///
    /// # Errors
    /// Invalid for a page token that isn't ours; otherwise what the upstream's reply means.
    pub async fn list(&self, call: Call, request: ListModelsRequest) -> Result<Reply<ListModelsResponse>> {
        let start = start_of_page(&request.page_token)?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
        };
        let filter = request.filter.unwrap_or_default();
        let mut reply = self.list_all(call, &[]).await?;
        let models = &mut reply.answer.models;
        models.retain(|model| filter.passes(model));
        let total = models.len();
        let page: Vec<Model> = models.drain(start.min(total)..total.min(start.saturating_add(size))).collect();
        let next = start.saturating_add(page.len());
        let answer = ListModelsResponse {
            models: page,
            next_page_token: if next < total { next.to_string() } else { String::new() },
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
            ..ListModelsResponse::default()
        };
        Ok(Reply { request_id: reply.request_id, answer })
    }

    /// One model.
    ///
    /// # Errors
    /// Not found; otherwise what the upstream's reply means.
    pub async fn get(&self, call: Call, request: GetModelRequest) -> Result<Reply<Model>> {
        let reply = async {
            validate::model(&request.model)?;
            let path: Vec<&str> = ["models"].into_iter().chain(request.model.split('/')).collect();
            let ask = Ask { deadline: call.deadline, model: Some(&request.model) };
            self.upstream.get(&path, &[], ask).await
        };
        call.logged(reply.await)
    }
}

/// The token of a page is the number of models before it.
fn start_of_page(token: &str) -> Result<usize> {
    if token.is_empty() {
        return Ok(0);
    }
    token
        .parse()
        .map_err(|_| Error::invalid("page_token", "not a token of this service: take next_page_token as it is"))
}

impl ModelFilter {
    fn passes(&self, model: &Model) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let class = model.model_class.as_deref().unwrap_or_default().to_lowercase();
        contains(&model.id, &self.search)
            && class.starts_with(&self.family.to_lowercase())
            && self.gated.is_none_or(|gated| model.is_gated == Some(gated))
            && self.available_on_current_plan.is_none_or(|wanted| model.available_on_current_plan == Some(wanted))
    }
}

#[async_trait]
impl model_service_server::ModelService for Models {
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.list(call, request.into_inner()).await?))
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<Model>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.get(call, request.into_inner()).await?))
    }
}
