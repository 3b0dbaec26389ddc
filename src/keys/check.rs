//! What a key may do, as errors for its callers.

use std::time::Instant;

use super::{Identity, Role};
use crate::error::{Error, ErrorCode, RateState, RateUnit, Result};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Asking models, and about them.
    Models,
    /// Asking about the caller's own key.
    Own,
    /// Managing keys, or reading about them.
    Admin,
}

impl Identity {
    /// Checks that the key is for calls with this `purpose`. Counts a call of models at `now`, and
    /// returns the state of the limit of calls, if the key has one.
    ///
    /// # Errors
    /// See [`begin_call`](Self::begin_call); [`Kind::Forbidden`](crate::error::Kind::Forbidden)
    /// for a key that manages nothing.
    pub async fn begin(&self, purpose: Purpose, now: Instant) -> Result<Option<RateState>> {
        match purpose {
            Purpose::Models => self.begin_call(now).await,
            Purpose::Own => Ok(None),
            Purpose::Admin => self.check_may_read_keys().map(|()| None),
        }
    }

    fn check_may_read_keys(&self) -> Result<()> {
        if self.role() != Role::Inference || self.is_everyone() {
            return Ok(());
        }
        let message = format!(
            "The key {:?} is for calls of models and manages nothing: use a key that begins with \
             gw_admin_",
            self.name()
        );
        Err(Error::new(ErrorCode::WrongKeyRole, message))
    }

    /// Checks that the key may change keys.
    ///
    /// # Errors
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) if it may not.
    pub fn check_may_change_keys(&self) -> Result<()> {
        self.check_may_read_keys()?;
        if self.role() != Role::Viewer {
            return Ok(());
        }
        let message = format!(
            "The key {:?} has the role viewer and changes nothing: use a key with the role admin",
            self.name()
        );
        Err(Error::new(ErrorCode::WrongKeyRole, message))
    }

    /// Checks that the key is for calls of models, and counts a call at `now`. Returns the state of
    /// the limit of calls, if the key has one.
    ///
    /// # Errors
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) for a key that manages keys;
    /// [`Kind::Limited`](crate::error::Kind::Limited) if the key has called too often.
    pub async fn begin_call(&self, now: Instant) -> Result<Option<RateState>> {
        if self.role() != Role::Inference {
            let message = format!(
                "The key {:?} is for managing keys and calls no model: use a key that begins with \
                 gw_live_ or gw_test_",
                self.name()
            );
            return Err(Error::new(ErrorCode::WrongKeyRole, message));
        }
        let Some(limit) = self.limits().requests_per_minute else {
            return Ok(None);
        };
        let taken = self.take_of_a_minute(RateUnit::Requests, limit.into(), 1, now);
        let taken = taken.await.map(Some);
        taken.map_err(|state| self.too_many_calls(state))
    }

    /// Checks that the key may use a model, which callers also call `name`.
    ///
    /// # Errors
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) if it may not.
    pub fn check_model(&self, model: &str, name: &str) -> Result<()> {
        if self.may_use(model) || (name != model && self.may_use(name)) {
            return Ok(());
        }
        let message = format!(
            "The key {:?} may not use the model {name}: GET /v1/models lists the models that it \
             may use",
            self.name()
        );
        Err(Error::new(ErrorCode::ModelNotAllowed, message)
            .with_param("model")
            .with_model(name))
    }
}
