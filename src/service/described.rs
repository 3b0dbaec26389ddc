//! An answer of the upstream with what its caller is told of the call.

use super::{
    call::Call,
    headers::ResponseHeaders,
    reply::Reply,
    report::{self, Reported},
    route::Route,
    usage::TellsUsage,
};
use crate::{proto::v1::CallReport, upstream};

/// `reply` with what the caller is told of the call: headers, and a report in the answer if the
/// caller asked for one.
pub(super) fn reported<M: Reported + TellsUsage>(
    call: &Call,
    route: Route,
    reply: upstream::Reply<M>,
) -> Reply<M> {
    if let Some(usage) = reply.answer.usage() {
        call.stats.record_usage(usage);
    }
    let (mut reply, report) = described(call, route, reply);
    *reply.answer.report().0 = report;
    reply
}

/// `reply` with the headers that describe the call, and the report if the caller asked for one.
pub(super) fn described<T>(
    call: &Call,
    route: Route,
    reply: upstream::Reply<T>,
) -> (Reply<T>, Option<Box<CallReport>>) {
    let upstream::Reply { request_id, answer } = reply;
    let headers = ResponseHeaders {
        waited_ms: call.stats.waited_ms(),
        model: route.other_model(),
        tried: route.tried(),
        upstream_request_id: request_id.as_ref(),
    };
    let mut headers = headers.into_map();
    call.describe_limits(&mut headers);
    let report = report::of(call, route, request_id.as_ref());
    let reply = Reply {
        headers,
        ..Reply::new(answer)
    };
    (reply, report)
}
