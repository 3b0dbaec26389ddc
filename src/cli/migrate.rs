//! `featherwire migrate`: brings the tables of the database to the version of this program.

use std::process::ExitCode;

use clap::Args;

use super::{database, failure::Failure, progress::Progress};
use crate::config;

/// Creates the database, or brings its tables to the version of this program. `featherwire serve`
/// does the same at its start.
#[derive(Args, Debug)]
pub struct Migrate {
    #[command(flatten)]
    database: config::Database,
}

impl Migrate {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let progress = Progress::start("bringing the database to the version of this program");
        let (store, migrated) = database::create_and_migrate(&self.database).await?;
        store.close().await;
        drop(progress);
        database::print(&store, migrated)?;
        Ok(ExitCode::SUCCESS)
    }
}
