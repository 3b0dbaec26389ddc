//! The pools of connections to upstream: one for each worker, because a connection is served by the
//! runtime that opened it.

use std::{fmt, sync::Arc};

use super::{connector::Connector, pool::Pool};
use crate::{
    error::{Error, Result},
    workers::PerWorker,
};

/// The pools of all workers.
pub(super) struct Pools {
    connector: Connector,
    pools: PerWorker<Arc<Pool>>,
}

impl Pools {
    /// Pools whose connections `connector` opens.
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            pools: PerWorker::new(),
        }
    }

    /// Whether a proxy reads the requests, so that they must contain the whole URL.
    pub(super) fn is_forwarded(&self) -> bool {
        self.connector.is_forwarded()
    }

    /// The pool of the worker that this thread belongs to.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) if there are more workers than pools: a
    /// bug.
    pub(super) fn current(&self) -> Result<&Arc<Pool>> {
        self.pools
            .get_or_init(|| Pool::new(self.connector.clone()))
            .ok_or_else(|| Error::internal("a worker without a pool of connections"))
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}
