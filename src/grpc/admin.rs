//! `KeyService` and `UsageService` of the administration over gRPC.

use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, async_trait};

use super::call;
use crate::{
    proto::admin::v1::{
        CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest, DeleteKeyResponse,
        ExportCallsRequest, ExportCallsResponse, GetKeyRequest, Key, ListAuditEventsRequest,
        ListAuditEventsResponse, ListCallsRequest, ListCallsResponse, ListKeysRequest,
        ListKeysResponse, QueryUsageRequest, QueryUsageResponse, RevokeKeyRequest,
        RotateKeyRequest, RotateKeyResponse, UpdateKeyRequest, key_service_server::KeyService,
        usage_service_server::UsageService,
    },
    service::{AdminKeys, AdminUsage},
};

/// The largest message of a request, in bytes. A key with all labels and models of their largest
/// sizes has less.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 * 1024;

#[async_trait]
impl KeyService for AdminKeys {
    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.create(call, request).await?))
    }

    async fn get_key(&self, request: Request<GetKeyRequest>) -> Result<Response<Key>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.get(call, request).await?))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.list(call, request).await?))
    }

    async fn update_key(
        &self,
        request: Request<UpdateKeyRequest>,
    ) -> Result<Response<Key>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.update(call, request).await?))
    }

    async fn rotate_key(
        &self,
        request: Request<RotateKeyRequest>,
    ) -> Result<Response<RotateKeyResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.rotate(call, request).await?))
    }

    async fn revoke_key(
        &self,
        request: Request<RevokeKeyRequest>,
    ) -> Result<Response<Key>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.revoke(call, request).await?))
    }

    async fn delete_key(
        &self,
        request: Request<DeleteKeyRequest>,
    ) -> Result<Response<DeleteKeyResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.delete(call, request).await?))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.audit(call, request).await?))
    }
}

#[async_trait]
impl UsageService for AdminUsage {
    async fn query_usage(
        &self,
        request: Request<QueryUsageRequest>,
    ) -> Result<Response<QueryUsageResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.query(call, request).await?))
    }

    async fn list_calls(
        &self,
        request: Request<ListCallsRequest>,
    ) -> Result<Response<ListCallsResponse>, Status> {
        let (call, request) = call::split(request)?;
        Ok(Response::new(self.list(call, request).await?))
    }

    type ExportCallsStream = BoxStream<'static, Result<ExportCallsResponse, Status>>;

    async fn export_calls(
        &self,
        request: Request<ExportCallsRequest>,
    ) -> Result<Response<Self::ExportCallsStream>, Status> {
        let (call, request) = call::split(request)?;
        let calls = self.export(call, request).await?;
        Ok(Response::new(
            calls.map(|call| call.map_err(Status::from)).boxed(),
        ))
    }
}
