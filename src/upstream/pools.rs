//! The pools of connections to upstream: one for each worker, because a connection is served by the
//! runtime that opened it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::uri::Authority;
use http_body_util::Full;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};

use super::connector::Connector;
use crate::{
    error::{Error, Result},
    workers::PerWorker,
};

/// How long an idle connection is kept. Load balancers close idle connections after a minute or so.
/// The gateway closes them before, so that it seldom writes into a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The name of the upstream in a pool. A pool finds its connections by the name in the URL of a
/// request, and hashes it for each call, byte by byte. As all connections are to one upstream, its
/// name may be short. The connector knows where the upstream is.
const NAME: &str = "u";

/// The pool of one worker.
pub(super) type Pool = legacy::Client<Connector, Full<Bytes>>;

/// The pools of all workers.
pub(super) struct Pools {
    connector: Connector,
    pools: PerWorker<Pool>,
}

impl Pools {
    /// Pools whose connections `connector` opens.
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            pools: PerWorker::new(),
        }
    }

    /// [`NAME`], for the URLs of requests. `None` if a proxy reads the URLs.
    pub(super) fn name(&self) -> Option<Authority> {
        (!self.connector.is_forwarded()).then(|| Authority::from_static(NAME))
    }

    /// The pool of the worker that this thread belongs to.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) if there are more workers than pools: a bug.
    pub(super) fn current(&self) -> Result<&Pool> {
        self.pools
            .get_or_init(|| pool(self.connector.clone()))
            .ok_or_else(|| Error::internal("a worker without a pool of connections"))
    }
}

fn pool(connector: Connector) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        // The headers of every request contain it.
        .set_host(false)
        .build(connector)
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}
