//! The audit in the database: who changed what.

use uuid::Uuid;

use super::Repository;
use crate::{
    keys::{
        actor::Actor,
        audit::{AuditEvent, Detail},
    },
    store::{StoreError, on_each},
};

const ALL: &str = "SELECT id, at, actor, action, key_id, detail FROM featherwire_audit WHERE id < \
                   $1 ORDER BY id DESC LIMIT $2";

const OF_KEY: &str = "SELECT id, at, actor, action, key_id, detail FROM featherwire_audit WHERE \
                      id < $1 AND key_id = $3 ORDER BY id DESC LIMIT $2";

type Row = (i64, i64, String, String, Option<Uuid>, String);

impl Repository {
    /// At most `limit` changes before the one with the number `before`, newest first; of one `key`,
    /// or of all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn audit(
        &self,
        before: i64,
        limit: i64,
        key: Option<Uuid>,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let run = async {
            on_each!(self.queries, pool => {
                let query = sqlx::query_as::<_, Row>(if key.is_some() { OF_KEY } else { ALL })
                    .bind(before)
                    .bind(limit);
                match key {
                    Some(key) => query.bind(key).fetch_all(pool).await,
                    None => query.fetch_all(pool).await,
                }
            })
        };
        let rows: Vec<Row> = run.await.map_err(|error| self.store.error(error))?;
        Ok(rows.into_iter().map(event).collect())
    }
}

fn event((id, at, actor, action, key, detail): Row) -> AuditEvent {
    AuditEvent {
        id,
        at,
        actor: Actor::from_text(&actor),
        action,
        key,
        changes: Detail::from_json(&detail).changes,
    }
}
