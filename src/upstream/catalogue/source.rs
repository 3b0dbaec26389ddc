//! Where the models of the catalogue come from: one upstream, or several.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::spawn_blocking, time::timeout};

use super::writer::entries;
use crate::{
    config::Glob,
    error::{Error, ErrorCode, Result},
    upstream::{client::Client, options::RequestOptions},
};

/// How long one of several upstreams may take to send its list, or to answer a search in it. An
/// upstream that hangs must not keep the lists of the others back.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// An upstream whose list of models is in the catalogue, with the accounts that are asked for it.
#[derive(Clone, Debug, Default)]
pub struct CatalogueSource {
    /// The list is that of the first client that gets it, in this order.
    clients: Vec<Client>,
    /// The patterns of the models that its accounts are asked for. `None` for all.
    accepts: Option<Arc<[Glob]>>,
}

/// The list of one upstream.
pub(super) struct List {
    /// The index of its source.
    pub(super) source: usize,
    /// The upstream's JSON document.
    pub(super) text: Bytes,
}

impl CatalogueSource {
    /// The source of all models of this upstream.
    pub(super) fn of(client: Client) -> Self {
        Self {
            clients: vec![client],
            accepts: None,
        }
    }

    /// Adds an account that is asked for `models`, or for all if there are none.
    pub fn add(&mut self, client: Client, models: &[Glob]) {
        self.accepts = match (&self.accepts, models) {
            (_, []) => None,
            (None, _) if !self.clients.is_empty() => None,
            (None, models) => Some(models.into()),
            (Some(before), models) => Some([before, models].concat().into()),
        };
        self.clients.push(client);
    }

    /// Whether one of its accounts is asked for this model.
    pub(super) fn accepts(&self, model: &str) -> bool {
        let mut globs = self.accepts.iter().flat_map(|globs| globs.iter());
        self.accepts.is_none() || globs.any(|glob| glob.matches(model))
    }

    /// Its list of models.
    pub(super) async fn text(&self) -> Result<Bytes> {
        let mut failure = None;
        for client in &self.clients {
            match client
                .get_text(&["models"], RequestOptions::default())
                .await
            {
                Ok(text) => return Ok(text),
                // The upstream may refuse only this key.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::internal("a source of models without an upstream")))
    }

    /// The same, within a time that the other sources can wait, and only if it is a list.
    pub(super) async fn text_in_time(&self) -> Result<Bytes> {
        let late = || {
            let seconds = LIST_TIMEOUT.as_secs();
            let message = format!("The list of models took longer than {seconds} s");
            Error::new(ErrorCode::UpstreamTimeout, message)
        };
        let list = timeout(LIST_TIMEOUT, self.text()).await;
        let list = list.unwrap_or_else(|_| Err(late()))?;
        // On a thread of its own: it may have several MB.
        let checked = spawn_blocking(move || entries(&list).map(drop).map(|()| list));
        checked.await.map_err(Error::internal)?
    }
}
