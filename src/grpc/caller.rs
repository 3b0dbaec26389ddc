//! `CallerService` over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::call;
use crate::{
    proto::v1::{
        GetOwnKeyRequest, GetOwnKeyResponse, GetOwnUsageRequest, GetOwnUsageResponse,
        caller_service_server::CallerService,
    },
    service::Caller,
};

#[async_trait]
impl CallerService for Caller {
    async fn get_own_key(
        &self,
        request: Request<GetOwnKeyRequest>,
    ) -> Result<Response<GetOwnKeyResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.key(call, request).await?))
    }

    async fn get_own_usage(
        &self,
        request: Request<GetOwnUsageRequest>,
    ) -> Result<Response<GetOwnUsageResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.usage(call, request).await?))
    }
}
