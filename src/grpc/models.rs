//! `ModelService` over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::{call, response};
use crate::{
    json,
    proto::v1::{
        GetModelRequest, ListModelsRequest, ListModelsResponse, Model, TokenizeRequest,
        TokenizeResponse, model_service_server::ModelService,
    },
    service::Models,
};

#[async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let (call, request) = call::split(request)?;
        let list = self.list(call, request).await?;
        Ok(Response::new(json::for_protobuf(list)))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<Model>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(self.get(call, request).await?))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(
            self.tokenize(call, Box::new(request)).await?,
        ))
    }
}
