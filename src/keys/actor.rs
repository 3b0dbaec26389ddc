//! Who changes keys.

use std::fmt;

use uuid::Uuid;

use super::identity::Identity;

const LOCAL: &str = "local";
const EVERYONE: &str = "everyone";
const KEY: &str = "key:";

/// Who changes keys. `Display` is what the audit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The command line, on the database itself.
    Local,
    /// A caller of a gateway without keys.
    Everyone,
    /// A key.
    Key {
        /// Its id.
        id: Uuid,
        /// Its name at that time.
        name: String,
    },
}

impl Actor {
    /// The caller with this identity.
    pub fn of(identity: &Identity) -> Self {
        match identity.id() {
            Some(id) => Self::Key {
                id,
                name: identity.name().to_owned(),
            },
            None => Self::Everyone,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Local => LOCAL,
            Self::Everyone => EVERYONE,
            Self::Key { name, .. } => name,
        }
    }

    /// The id of the key, if it is one.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Key { id, .. } => Some(*id),
            Self::Local | Self::Everyone => None,
        }
    }

    /// The actor that the audit has as `text`. All texts of earlier versions are the command line.
    pub(super) fn from_text(text: &str) -> Self {
        let key = || {
            let (id, name) = text.strip_prefix(KEY)?.split_once(':')?;
            let (id, name) = (Uuid::try_parse(id).ok()?, name.to_owned());
            Some(Self::Key { id, name })
        };
        match text {
            EVERYONE => Self::Everyone,
            _ => key().unwrap_or(Self::Local),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { id, name } => write!(f, "{KEY}{id}:{name}"),
            Self::Local | Self::Everyone => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_as_it_was_written() {
        let key = Actor::Key {
            id: Uuid::now_v7(),
            name: "a: b".to_owned(),
        };
        for actor in [Actor::Local, Actor::Everyone, key] {
            assert_eq!(Actor::from_text(&actor.to_string()), actor);
        }
        assert_eq!(Actor::from_text("command line"), Actor::Local);
    }
}
