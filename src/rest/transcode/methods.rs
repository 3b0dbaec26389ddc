//! The method of the services for each rule.

use futures_util::{StreamExt, stream::BoxStream};
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

/// The answer of a method.
pub(super) enum Answer {
    /// One message.
    Whole(DynamicMessage),
    /// A stream of messages. It ends after an error.
    Stream(BoxStream<'static, Result<DynamicMessage>>),
}

/// Calls the method of `rule` with the message of its request.
///
/// # Errors
/// Those of the method.
pub(super) async fn call(
    services: &Services,
    rule: &Rule,
    call: Call,
    message: DynamicMessage,
) -> Result<Answer> {
    let (keys, usage) = (&services.admin_keys, &services.admin_usage);
    let caller = &services.caller;
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
        "featherwire.admin.v1.UsageService.QueryUsage" => {
            answer(rule, usage.query(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.UsageService.ListCalls" => {
            answer(rule, usage.list(call, typed(&message)?).await?)
        }
        "featherwire.admin.v1.UsageService.ExportCalls" => {
            let output = rule.method.output();
            let calls = usage.export(call, typed(&message)?).await?;
            let calls = calls.map(move |call| dynamic(output.clone(), &call?));
            Ok(Answer::Stream(calls.boxed()))
        }
        "featherwire.v1.CallerService.GetOwnKey" => {
            answer(rule, caller.key(call, typed(&message)?).await?)
        }
        "featherwire.v1.CallerService.GetOwnUsage" => {
            answer(rule, caller.usage(call, typed(&message)?).await?)
        }
        other => Err(Error::internal(format!(
            "no service has the method {other}"
        ))),
    }
}

fn answer<M: Message>(rule: &Rule, answer: M) -> Result<Answer> {
    dynamic(rule.method.output(), &answer).map(Answer::Whole)
}
