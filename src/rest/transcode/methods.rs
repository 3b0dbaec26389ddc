//! The method of the services for each rule.

use prost::Message;
use prost_reflect::DynamicMessage;

use super::{
    fields::{dynamic, typed},
    rules::Rule,
};
use crate::{
    error::{Error, Result},
    service::{Call, Services},
};

/// Calls the method of `rule` with the message of its request.
///
/// # Errors
/// Those of the method.
pub(super) async fn call(
    services: &Services,
    rule: &Rule,
    call: Call,
    message: DynamicMessage,
) -> Result<DynamicMessage> {
    let keys = &services.admin_keys;
    match rule.method.full_name() {
        "featherwire.admin.v1.KeyService.CreateKey" => {
            answer(rule, keys.create(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.GetKey" => {
            answer(rule, keys.get(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.ListKeys" => {
            answer(rule, keys.list(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.UpdateKey" => {
            answer(rule, keys.update(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.RotateKey" => {
            answer(rule, keys.rotate(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.RevokeKey" => {
            answer(rule, keys.revoke(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.DeleteKey" => {
            answer(rule, keys.delete(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.KeyService.ListAuditEvents" => {
            answer(rule, keys.audit(call, typed(&message)?).await?)
        }
        other => Err(Error::internal(format!(
            "no service has the method {other}"
        ))),
    }
}

fn answer<M: Message>(rule: &Rule, answer: M) -> Result<DynamicMessage> {
    dynamic(rule.method.output(), &answer)
}
