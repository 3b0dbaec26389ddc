//! The gateways that share budgets, and the end of those that are lost.
//!
//! A gateway that writes holds the lock of its row until the end of its transaction. Another one
//! marks it as ended only under this lock, and ends its leases together with that. So a gateway
//! that comes back either keeps its leases or learns that they have ended.

use std::time::Duration;

use uuid::Uuid;

use super::Repository;
use crate::store::{BeginWrite as _, Presence, StoreError, on_each};

/// The leases of a gateway that has not written for so long end. It is longer than a restart of a
/// database, during which calls go on with what is leased.
pub(in crate::keys) const LEASE_TIME: Duration = Duration::from_secs(60);

/// A gateway that has not written for so long has no part in what is left of budgets.
pub(super) const SHARE_TIME: Duration = Duration::from_secs(5);

/// For how long the row of a gateway is kept after its last exchange. A gateway that did not get
/// the answer to an exchange finds there that it was saved, when it repeats it.
pub(super) const ROW_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The state of a gateway at the beginning of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The time of the database's clock, in Unix milliseconds.
    pub(super) now: i64,
    /// The number of the last exchange that was saved. 0 for none.
    pub(super) saved: i64,
    /// Whether the gateway has no leases, whatever it had before.
    pub(super) is_new: bool,
    /// How many gateways share what is left, with this one.
    pub(super) gateways: i64,
    /// How many gateways have not written for some time, and may have leases.
    pub(super) lost: i64,
}

pub(super) const SEE: &str = "INSERT INTO featherwire_gateways (id, batch, seen_at)
    VALUES ($1, 0, $2)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
    RETURNING batch, ended_at";

pub(super) const RETURN: &str = "UPDATE featherwire_gateways SET ended_at = NULL WHERE id = $1";

/// Two gateways that end others lock them in the same order.
pub(super) const LOST: &str = "SELECT id FROM featherwire_gateways
    WHERE seen_at < $1 AND ended_at IS NULL ORDER BY id";

/// It may have come back since it was looked for.
pub(super) const END: &str = "UPDATE featherwire_gateways SET ended_at = $3
    WHERE id = $1 AND seen_at < $2 AND ended_at IS NULL";

pub(super) const END_LEASES: &str = "DELETE FROM featherwire_leases WHERE gateway_id = $1";

pub(super) const FORGET: &str =
    "DELETE FROM featherwire_gateways WHERE seen_at < $1 AND ended_at IS NOT NULL";

pub(super) const COUNT: &str = "SELECT
    CAST(COALESCE(SUM(CASE WHEN seen_at >= $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
    CAST(COALESCE(SUM(CASE WHEN seen_at < $1 AND ended_at IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT)
    FROM featherwire_gateways";

/// Begins an exchange in a transaction: evaluates to a [`Seen`].
macro_rules! see_gateway {
    ($pool:ident, $transaction:ident, $exchange:expr) => {{
        use $crate::{clock::milliseconds, keys::repository::gateways};
        let exchange: &Exchange<'_> = $exchange;
        let now = $pool.now(&mut $transaction).await?;
        let (saved, ended_at): (i64, Option<i64>) = sqlx::query_as(gateways::SEE)
            .bind(exchange.gateway)
            .bind(now)
            .fetch_one(&mut *$transaction)
            .await?;
        if ended_at.is_some() {
            sqlx::query(gateways::RETURN)
                .bind(exchange.gateway)
                .execute(&mut *$transaction)
                .await?;
        }
        if exchange.may_end_leases {
            let lost_at = now.saturating_sub(milliseconds(exchange.lease_time));
            let lost: Vec<uuid::Uuid> = sqlx::query_scalar(gateways::LOST)
                .bind(lost_at)
                .fetch_all(&mut *$transaction)
                .await?;
            for gateway in lost {
                let ended = sqlx::query(gateways::END)
                    .bind(gateway)
                    .bind(lost_at)
                    .bind(now)
                    .execute(&mut *$transaction)
                    .await?;
                if ended.rows_affected() > 0 {
                    sqlx::query(gateways::END_LEASES)
                        .bind(gateway)
                        .execute(&mut *$transaction)
                        .await?;
                }
            }
            sqlx::query(gateways::FORGET)
                .bind(now.saturating_sub(milliseconds(gateways::ROW_TIME)))
                .execute(&mut *$transaction)
                .await?;
        }
        let (gateways, lost): (i64, i64) = sqlx::query_as(gateways::COUNT)
            .bind(now.saturating_sub(milliseconds(gateways::SHARE_TIME)))
            .fetch_one(&mut *$transaction)
            .await?;
        gateways::Seen {
            now,
            saved,
            is_new: saved == 0 || ended_at.is_some(),
            gateways,
            lost,
        }
    }};
}
pub(super) use see_gateway;

impl Repository {
    /// Ends all leases, if no other process serves from the database: those that had them have
    /// crashed. Returns what must live as long as this process serves.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn enter(&self) -> Result<Option<Presence>, StoreError> {
        let presence = self.store.enter();
        if !presence.as_ref().is_some_and(Presence::is_alone) {
            return Ok(presence);
        }
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                for statement in ["DELETE FROM featherwire_leases", "DELETE FROM featherwire_gateways"] {
                    sqlx::query(statement).execute(&mut *transaction).await?;
                }
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))?;
        Ok(presence)
    }

    /// Gives all leases of a gateway back, at its end.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn leave(&self, gateway: Uuid) -> Result<(), StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                for statement in [
                    // Takes the lock of the row.
                    "UPDATE featherwire_gateways SET ended_at = seen_at WHERE id = $1",
                    END_LEASES,
                    "DELETE FROM featherwire_gateways WHERE id = $1",
                ] {
                    sqlx::query(statement)
                        .bind(gateway)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}
