//! `AccountService`: the account's plan, and its concurrency units.

use tonic::{Request, Response, Status, async_trait};

use super::{
    Answered, Call, Units,
    feed::{Feed, Watch},
};
use crate::{
    error::Result,
    proto::v1::{
        Concurrency, GetConcurrencyRequest, GetPlanRequest, Plan, WatchConcurrencyRequest, account_service_server,
    },
    upstream::{Ask, Client, Reply},
};

/// Knows the account.
#[derive(Clone, Debug)]
pub struct Account {
    upstream: Client,
    feed: Feed,
    units: Units,
}

impl Account {
    /// The service over this upstream and its feed; the units are the gateway's own view.
    pub fn new(upstream: Client, feed: Feed, units: Units) -> Self {
        Self { upstream, feed, units }
    }

    /// The account's plan.
    ///
    /// # Errors
    /// What the upstream's reply means.
    pub async fn plan(&self, call: Call) -> Result<Reply<Plan>> {
        let ask = Ask { deadline: call.deadline, ..Ask::default() };
        call.run(self.upstream.get_with_key(&["plan"], ask)).await
    }

    /// Who uses the account's units right now.
    ///
    /// # Errors
    /// What the upstream's reply means.
    pub async fn concurrency(&self, call: Call) -> Result<Reply<Concurrency>> {
        let ask = Ask { deadline: call.deadline, ..Ask::default() };
        let mut reply: Reply<Concurrency> =
            call.run(self.upstream.get_account(&["account", "concurrency"], ask)).await?;
        reply.answer.gateway = Some(self.units.view());
        Ok(reply)
    }

    /// Ends every watch, for they never end by themselves.
    pub fn end_watches(&self) {
        self.feed.end();
    }

    /// Who uses the account's units, whenever the upstream says so. All watchers share one upstream connection.
    pub fn watch(&self, call: Call) -> Watch {
        self.feed.watch(call).with_view(self.units.clone())
    }
}

#[async_trait]
impl account_service_server::AccountService for Account {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<Plan>, Status> {
        let call = Call::new(request.metadata().as_ref(), request.extensions())?;
        Ok(Answered::from(self.plan(call).await?).into_response())
    }

    async fn get_concurrency(&self, request: Request<GetConcurrencyRequest>) -> Result<Response<Concurrency>, Status> {
        let call = Call::new(request.metadata().as_ref(), request.extensions())?;
        Ok(Answered::from(self.concurrency(call).await?).into_response())
    }

    type WatchConcurrencyStream = super::feed::GrpcWatch;

    async fn watch_concurrency(
        &self,
        request: Request<WatchConcurrencyRequest>,
    ) -> Result<Response<Self::WatchConcurrencyStream>, Status> {
        let call = Call::new(request.metadata().as_ref(), request.extensions())?;
        Ok(Response::new(self.watch(call).into_grpc()))
    }
}
