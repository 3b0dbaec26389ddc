//! Scripts, which run in Redis as one step.

use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{link::Link, problem::Problem};

/// A script, and the name by which Redis remembers it.
pub(super) struct Script {
    text: &'static str,
    /// The SHA-1 of the text, in hexadecimal.
    digest: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Self {
            text,
            digest: digest.collect(),
        }
    }

    /// Runs it by its name, or by its text if Redis does not know it (any more).
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        link: &Link,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, Problem> {
        let known = Self::command("EVALSHA", &self.digest, keys, arguments);
        match link.query(&known).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let whole = Self::command("EVAL", self.text, keys, arguments);
                link.query(&whole).await
            }
            result => result,
        }
        .map_err(|error| error.into_problem(link.url()))
    }

    fn command(name: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys);
        for argument in arguments {
            command.arg(argument);
        }
        command
    }
}
