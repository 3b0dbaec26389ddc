//! `KeyService` of the administration over gRPC.

use tonic::{Request, Response, Status, async_trait};

use super::call;
use crate::{
    proto::admin::v1::{
        CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest, DeleteKeyResponse, GetKeyRequest,
        Key, ListAuditEventsRequest, ListAuditEventsResponse, ListKeysRequest, ListKeysResponse,
        RevokeKeyRequest, RotateKeyRequest, RotateKeyResponse, UpdateKeyRequest,
        key_service_server::KeyService,
    },
    service::AdminKeys,
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
