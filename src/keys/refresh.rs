//! Keeps the directory like the database, and the database like what keys spend.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep},
};

use super::{
    catch_up::CatchUp,
    clock::now,
    directory::Directory,
    identity::Identity,
    manager::Manager,
    repository::{KeysError, LEASE_TIME, Repository},
    saver::Saver,
};
use crate::store::Presence;

/// The time between two looks at the version of the keys. So a change is known everywhere within
/// two seconds.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The time between two records of the use of keys.
const RECORD_USE_EVERY: Duration = Duration::from_secs(10);

/// The time between two attempts to listen to PostgreSQL.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The tasks that keep a directory and its database alike. They end when this is dropped.
#[derive(Debug)]
pub struct Refresh {
    /// Also for keys in memory: a caller of the administration may leave in the middle of a change.
    follower: AbortHandle,
    /// Records which keys were used. Following their changes does not wait for it.
    recorder: AbortHandle,
    /// `None` if no other process can change the keys.
    saver: Option<SaverTask>,
    catch_up: CatchUp,
    /// Tells other processes of this one.
    _presence: Option<Arc<Presence>>,
}

#[derive(Debug)]
struct SaverTask {
    task: JoinHandle<()>,
    /// Dropping it ends the saver, which saves what is left.
    end: oneshot::Sender<()>,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.follower.abort();
        self.recorder.abort();
        if let Some(saver) = &self.saver {
            saver.task.abort();
        }
    }
}

impl Refresh {
    /// Loads the keys of the database into `directory`, and follows their changes.
    ///
    /// # Errors
    /// The keys cannot be loaded.
    pub async fn start(directory: Directory, repository: Repository) -> Result<Self, KeysError> {
        Self::start_with(directory, repository, LEASE_TIME).await
    }

    /// The same. All gateways of the database must have the same `lease_time`, after which those
    /// that are lost have no leases any more. Tests do not wait as long as others.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub async fn start_with(
        directory: Directory,
        repository: Repository,
        lease_time: Duration,
    ) -> Result<Self, KeysError> {
        let is_shared = !repository.is_in_memory();
        let news = directory.spending_news();
        if is_shared {
            news.need_leases();
        }
        let presence = repository.enter().await?.map(Arc::new);
        let catch_up = CatchUp::new(directory.clone(), repository.clone());
        catch_up.run().await?;
        directory.take_spent(&repository.spent().await?);
        let follower = Follower {
            catch_up: catch_up.clone(),
            directory,
            is_failing: false,
        };
        // They serve all callers, for as long as the gateway runs.
        let saver = is_shared.then(|| {
            let saver = Saver::new(news, repository.clone(), lease_time, presence.clone());
            let (end, ended) = oneshot::channel();
            let task = tokio::spawn(saver.run(async move { _ = ended.await }));
            SaverTask { task, end }
        });
        Ok(Self {
            follower: tokio::spawn(follower.follow()).abort_handle(),
            recorder: tokio::spawn(record_uses(catch_up.clone())).abort_handle(),
            saver,
            catch_up,
            _presence: presence,
        })
    }

    /// Changes the keys while the gateway runs.
    pub fn manager(&self) -> Manager {
        Manager::new(self.catch_up.clone())
    }

    /// Records what the keys have spent and their last use, and ends.
    pub async fn end(mut self) {
        self.follower.abort();
        self.recorder.abort();
        if let Some(saver) = self.saver.take() {
            drop(saver.end);
            // Its last exchanges have a time limit. A panic in it was logged.
            let _ = saver.task.await;
        }
        record_use(self.catch_up.directory(), self.catch_up.repository()).await;
    }
}

/// Records the use of keys all the time.
async fn record_uses(catch_up: CatchUp) {
    loop {
        sleep(RECORD_USE_EVERY).await;
        record_use(catch_up.directory(), catch_up.repository()).await;
    }
}

/// Records the use of keys since the last call of this. It is not important enough for an error:
/// the next call tries again.
async fn record_use(directory: &Directory, repository: &Repository) {
    let used = directory.take_used();
    let ids: Vec<_> = used.iter().filter_map(Identity::id).collect();
    if let Err(error) = repository.record_use(&ids, now()).await {
        tracing::debug!(%error, "the last use of keys was not recorded");
        used.iter().for_each(Identity::record_use);
    }
}

struct Follower {
    catch_up: CatchUp,
    directory: Directory,
    is_failing: bool,
}

impl Follower {
    async fn follow(mut self) {
        let mut listen_at = Instant::now();
        let mut listener: Option<PgListener> = None;
        loop {
            if listener.is_none() && Instant::now() >= listen_at {
                listen_at = Instant::now() + LISTEN_AGAIN_AFTER;
                // Without it, the version is polled.
                listener = self
                    .catch_up
                    .repository()
                    .listen()
                    .await
                    .unwrap_or_default();
            }
            let is_lost = tokio::select! {
                () = sleep(POLL_EVERY) => false,
                is_lost = heard(&mut listener) => is_lost,
            };
            if is_lost {
                listener = None;
            }
            let result = self.look().await;
            self.report(result);
        }
    }

    /// Loads the keys if their version has changed.
    async fn look(&mut self) -> Result<(), KeysError> {
        if self.catch_up.run().await? {
            tracing::info!(keys = self.directory.valid_keys(), "gateway keys changed");
        }
        Ok(())
    }

    /// Logs the first failure and the end of failures.
    fn report(&mut self, result: Result<(), KeysError>) {
        let is_failing = result.is_err();
        match result {
            Ok(()) if self.is_failing => tracing::info!("the database with the keys answers again"),
            Ok(()) => {}
            Err(error) if !self.is_failing => tracing::warn!(
                %error,
                "the database with the keys fails: calls go on with the keys as they were"
            ),
            Err(error) => tracing::debug!(%error, "the database with the keys still fails"),
        }
        self.is_failing = is_failing;
    }
}

/// Waits for news. Returns true if the connection was lost.
async fn heard(listener: &mut Option<PgListener>) -> bool {
    match listener {
        // After `None` or an error, notices may have been missed. The version tells.
        Some(listener) => !matches!(listener.try_recv().await, Ok(Some(_))),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        config::DatabaseLocation,
        keys::{Actor, KeySettings, Role, SecretKind},
        store::Store,
    };

    #[tokio::test]
    async fn a_use_that_was_not_recorded_is_recorded_later() {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        let (repository, directory) = (Repository::new(store), Directory::new(&[], &[]));
        let settings = KeySettings::named("app");
        let created = repository.create(&Actor::Local, Role::Inference, SecretKind::Live, settings);
        let (key, new) = created.await.unwrap();
        directory.apply(repository.changes_after(0).await.unwrap());
        let secret = new.secret.expose_secret().as_bytes();
        directory.find(secret).unwrap().unwrap().record_use();

        let away = Store::open(&DatabaseLocation::Memory).await.unwrap();
        away.close().await;
        record_use(&directory, &Repository::new(away)).await;
        assert_eq!(repository.get(key.id).await.unwrap().last_used_at, None);
        record_use(&directory, &repository).await;
        let used_at = repository.get(key.id).await.unwrap().last_used_at;
        assert!(used_at.is_some());
        record_use(&directory, &repository).await;
        assert_eq!(repository.get(key.id).await.unwrap().last_used_at, used_at);
    }
}
