//! What the database knows of calls: sums by key, model and time, and single calls.

mod calls;
mod usage;

pub use calls::{CallFilter, Cursor, Order};
pub use usage::{Grouping, UsageQuery, UsageRow};

use std::{collections::HashMap, ops::Range};

use uuid::Uuid;

use super::key_names::fixed_name;
use crate::{
    clock::UnixMs,
    store::{Store, StoreError, on_each},
};

/// All time.
pub const ALL_TIME: Range<UnixMs> = 0..UnixMs::MAX;

/// Reads the ledger of a database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queries {
    store: Store,
}

const NAMES: &str = "SELECT id, name FROM featherwire_keys";

impl Queries {
    /// Reads the ledger in `store`, which has the present tables.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Ends the connections to the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The ids of the keys with this id or this name, also of those that are deleted. Several keys
    /// may have the same name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn keys_named(&self, name: &str) -> Result<Vec<Uuid>, StoreError> {
        if let Ok(id) = Uuid::try_parse(name) {
            return Ok(vec![id]);
        }
        let own = super::key_names::fixed_id(name);
        if fixed_name(own).as_deref() == Some(name) {
            return Ok(vec![own]);
        }
        let names = self.names().await?.into_iter();
        let of_name = names.filter(|(_, known)| known == name);
        Ok(of_name.map(|(id, _)| id).collect())
    }

    /// The present names of all keys that the database has, also of those that are deleted.
    async fn names(&self) -> Result<HashMap<Uuid, String>, StoreError> {
        let run =
            async { on_each!(self.store, pool => sqlx::query_as(NAMES).fetch_all(pool).await) };
        let rows: Vec<(Uuid, String)> = run.await.map_err(|error| self.store.error(error))?;
        Ok(rows.into_iter().collect())
    }
}

/// The name of a key: its present one, or that of its fixed id, or else its id.
fn name_of(id: Uuid, names: &HashMap<Uuid, String>) -> String {
    let known = names.get(&id).cloned();
    known
        .or_else(|| fixed_name(id))
        .unwrap_or_else(|| id.to_string())
}
