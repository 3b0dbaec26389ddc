//! Queries of keys.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    KeysError, Repository,
    rows::{KeyRow, SecretRow, secret_info},
};
use crate::{
    keys::key::Key,
    store::{StoreError, on_each},
};

impl Repository {
    /// All keys that can be read, oldest first, and why others cannot.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self) -> Result<(Vec<Key>, Vec<KeysError>), KeysError> {
        let (rows, secrets) = self.rows().await?;
        let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
        for row in rows {
            match self.key(row) {
                Ok(key) => keys.push(key),
                Err(error) => unreadable.push(error),
            }
        }
        // Both are sorted by the time of their creation, so a key is found by its id.
        let places: HashMap<_, _> = keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.id, place))
            .collect();
        for row in secrets {
            if let Some(key) = places.get(&row.0).and_then(|place| keys.get_mut(*place)) {
                key.secrets.push(secret_info(row));
            }
        }
        Ok((keys, unreadable))
    }

    /// The key with this id.
    ///
    /// # Errors
    /// [`KeysError::NotFound`].
    pub async fn get(&self, id: Uuid) -> Result<Key, KeysError> {
        let run = async {
            on_each!(self.queries, pool => {
                let key: Option<KeyRow> = sqlx::query_as(select_keys!("AND id = $1"))
                    .bind(id)
                    .fetch_optional(pool)
                    .await?;
                let secrets: Vec<SecretRow> = sqlx::query_as(select_secrets!("WHERE key_id = $1"))
                    .bind(id)
                    .fetch_all(pool)
                    .await?;
                Ok((key, secrets))
            })
        };
        let (row, secrets) = run.await.map_err(|error| self.store.error(error))?;
        let row = row.ok_or_else(|| KeysError::NotFound(id.to_string()))?;
        let mut key = self.key(row)?;
        key.secrets = secrets.into_iter().map(secret_info).collect();
        Ok(key)
    }

    /// The id of the key that `text` names by its id, or by a name that only one key has.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] and [`KeysError::Ambiguous`].
    pub async fn resolve(&self, text: &str) -> Result<Uuid, KeysError> {
        if let Ok(id) = Uuid::try_parse(text.trim()) {
            return Ok(id);
        }
        let run = async {
            on_each!(self.queries, pool => {
                sqlx::query_scalar::<_, Uuid>(
                    "SELECT id FROM featherwire_keys WHERE name = $1 AND deleted_at IS NULL",
                )
                .bind(text)
                .fetch_all(pool)
                .await
            })
        };
        let ids = run.await.map_err(|error| self.store.error(error))?;
        match *ids {
            [] => Err(KeysError::NotFound(text.to_owned())),
            [id] => Ok(id),
            _ => Err(KeysError::Ambiguous {
                name: text.to_owned(),
                keys: ids.len(),
            }),
        }
    }

    async fn rows(&self) -> Result<(Vec<KeyRow>, Vec<SecretRow>), StoreError> {
        let run = async {
            on_each!(self.queries, pool => {
                let keys: Vec<KeyRow> = sqlx::query_as(select_keys!("")).fetch_all(pool).await?;
                let secrets: Vec<SecretRow> =
                    sqlx::query_as(select_secrets!("")).fetch_all(pool).await?;
                Ok((keys, secrets))
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}
