//! `AccountService`: the account's plan, and its concurrency units.

use tonic::{Request, Response, Status, async_trait};

use super::{
    Call,
    feed::{Feed, Watch},
    into_response,
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
}

impl Account {
    /// The service over this upstream.
    pub fn new(upstream: Client) -> Self {
        Self { feed: Feed::new(upstream.clone()), upstream }
    }

    /// The account's plan.
    ///
    /// # Errors
    /// What the upstream's reply means.
    pub async fn plan(&self, call: Call) -> Result<Reply<Plan>> {
        let ask = Ask { deadline: call.deadline, model: None };
        call.logged(self.upstream.get_with_key(&["plan"], ask).await)
    }

    /// Who uses the account's units right now.
    ///
    /// # Errors
    /// What the upstream's reply means.
    pub async fn concurrency(&self, call: Call) -> Result<Reply<Concurrency>> {
        let ask = Ask { deadline: call.deadline, model: None };
        call.logged(self.upstream.get_account(&["account", "concurrency"], ask).await)
    }

    /// Ends every watch, for they never end by themselves.
    pub fn end_watches(&self) {
        self.feed.end();
    }

    /// Who uses the account's units, whenever the upstream says so. All watchers share one upstream connection.
    pub fn watch(&self, call: Call) -> Watch {
        self.feed.watch(call)
    }
}

#[async_trait]
impl account_service_server::AccountService for Account {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<Plan>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.plan(call).await?))
    }

    async fn get_concurrency(&self, request: Request<GetConcurrencyRequest>) -> Result<Response<Concurrency>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(into_response(self.concurrency(call).await?))
    }

    type WatchConcurrencyStream = super::feed::GrpcWatch;

    async fn watch_concurrency(
        &self,
        request: Request<WatchConcurrencyRequest>,
    ) -> Result<Response<Self::WatchConcurrencyStream>, Status> {
        let call = Call::new(request.metadata().as_ref())?;
        Ok(Response::new(self.watch(call).into_grpc()))
    }
}
