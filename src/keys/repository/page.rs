//! Keys in the order of their creation, some at a time.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    KeysError, Repository,
    rows::{KeyRow, SecretRow, secret_info},
};
use crate::{keys::key::Key, store::on_each};

/// How many keys are read at a time. A filter may let few of them pass.
const BATCH: i64 = 1000;

/// Ids are UUIDv7, so their order is that of the creation.
const KEYS: &str = concat!(
    select_keys!("AND id > $1", "id"),
    // Its number is bound, so that both databases prepare it once.
    " LIMIT $2"
);

const SECRETS: &str = select_secrets!("WHERE key_id > $1 AND key_id <= $2");

impl Repository {
    /// At most `limit` keys after the one with the id `after` that `filter` lets pass, oldest
    /// first, and whether there are more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn page(
        &self,
        after: Uuid,
        limit: usize,
        filter: impl Fn(&Key) -> bool,
    ) -> Result<(Vec<Key>, bool), KeysError> {
        let (mut page, mut after) = (Vec::new(), after);
        loop {
            let (batch, last) = self.batch(after).await?;
            let Some(last) = last else {
                return Ok((page, false));
            };
            after = last;
            for key in batch.into_iter().filter(|key| filter(key)) {
                if page.len() == limit {
                    return Ok((page, true));
                }
                page.push(key);
            }
        }
    }

    /// The keys after the one with the id `after` that can be read, and the id of the last one.
    async fn batch(&self, after: Uuid) -> Result<(Vec<Key>, Option<Uuid>), KeysError> {
        let run = async {
            on_each!(self.queries, pool => {
                let keys: Vec<KeyRow> =
                    sqlx::query_as(KEYS).bind(after).bind(BATCH).fetch_all(pool).await?;
                let last = keys.last().map_or(after, |key| key.0);
                let secrets: Vec<SecretRow> =
                    sqlx::query_as(SECRETS).bind(after).bind(last).fetch_all(pool).await?;
                Ok((keys, secrets))
            })
        };
        let (keys, secrets) = run.await.map_err(|error| self.store.error(error))?;
        let last = keys.last().map(|key| key.0);
        let mut of_key = HashMap::<_, Vec<_>>::new();
        for row in secrets {
            of_key.entry(row.0).or_default().push(secret_info(row));
        }
        // Those that cannot be read are in the log since they were changed.
        let keys = keys.into_iter().filter_map(|row| {
            let mut key = self.key(row).ok()?;
            key.secrets = of_key.remove(&key.id).unwrap_or_default();
            Some(key)
        });
        Ok((keys.collect(), last))
    }
}
