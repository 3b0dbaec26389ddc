//! `AccountService` over gRPC.

use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, async_trait};

use super::{call, response};
use crate::{
    json,
    proto::v1::{
        Concurrency, GetConcurrencyRequest, GetPlanRequest, Plan, WatchConcurrencyRequest,
        account_service_server::AccountService,
    },
    service::Account,
};

#[async_trait]
impl AccountService for Account {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<Plan>, Status> {
        let (call, request) = call::split(request)?;
        Ok(response::unary(self.plan(call, request).await?))
    }

    async fn get_concurrency(
        &self,
        request: Request<GetConcurrencyRequest>,
    ) -> Result<Response<Concurrency>, Status> {
        let (call, _) = call::split(request)?;
        Ok(response::unary(self.concurrency(call).await?))
    }

    type WatchConcurrencyStream = BoxStream<'static, Result<Concurrency, Status>>;

    async fn watch_concurrency(
        &self,
        request: Request<WatchConcurrencyRequest>,
    ) -> Result<Response<Self::WatchConcurrencyStream>, Status> {
        let (call, _) = call::split(request)?;
        let snapshots = self
            .watch(call)
            .map(|snapshot| snapshot.map(json::for_protobuf).map_err(Status::from));
        Ok(Response::new(snapshots.boxed()))
    }
}
