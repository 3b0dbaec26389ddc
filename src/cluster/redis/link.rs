//! The connection for commands: opened when it is needed, and again after it broke.

use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError};
use tokio::{sync::Mutex, time::Instant};

use super::{
    open::{Connection, RESPONSE_TIMEOUT},
    problem::{Problem, breaks_connection},
};
use crate::config::RedisUrl;

/// For how long a failed attempt to connect counts for others that need the connection. So one
/// attempt serves all that waited for it, and not each of them makes its own.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The connection for commands.
pub(super) struct Link {
    url: RedisUrl,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts the connections.
    generation: u64,
    failed: Option<(Instant, Problem)>,
}

impl Link {
    pub(super) fn new(url: RedisUrl) -> Self {
        Self {
            url,
            state: Mutex::default(),
        }
    }

    pub(super) fn url(&self) -> &RedisUrl {
        &self.url
    }

    /// The connection and its generation. Opens one if there is none.
    pub(super) async fn connection(&self) -> Result<(Connection, u64), Problem> {
        // Held while a connection is opened, so that only one is.
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some((at, problem)) = &state.failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(problem.clone());
        }
        match Connection::open(&self.url, RESPONSE_TIMEOUT).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.generation += 1;
                state.failed = None;
                Ok((connection, state.generation))
            }
            Err(problem) => {
                state.failed = Some((Instant::now(), problem.clone()));
                Err(problem)
            }
        }
    }

    /// Sends a command and returns its answer.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        let (mut connection, generation) = self.connection().await.map_err(LinkError::Opening)?;
        match connection.query(command).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if breaks_connection(&error) {
                    let mut state = self.state.lock().await;
                    if state.generation == generation {
                        state.connection = None;
                    }
                }
                Err(LinkError::Command(error))
            }
        }
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum LinkError {
    /// There is no connection.
    Opening(Problem),
    /// The connection broke, or Redis refused the command.
    Command(RedisError),
}

impl LinkError {
    /// The kind that Redis gave. [`ErrorKind::Io`] without a connection.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Opening(_) => ErrorKind::Io,
            Self::Command(error) => error.kind(),
        }
    }

    pub(super) fn into_problem(self, url: &RedisUrl) -> Problem {
        match self {
            Self::Opening(problem) => problem,
            Self::Command(error) => Problem::of_command(url, &error),
        }
    }
}
