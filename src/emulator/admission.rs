//! Admits a request: the model is ready, the plan has free units, and no fault replaces the answer.

use std::sync::atomic::Ordering;

use axum::response::Response;

use super::delivery::Delivery;
use super::exchange::Exchange;
use super::faults::FaultId;
use super::models::Model;
use super::refusal::Refusal;
use super::state::Emulator;

pub enum Admission {
    /// The request is admitted. The answer is sent with this [`Delivery`].
    Granted(Delivery),
    /// A fault has produced the response.
    Answered(Response),
}

impl Emulator {
    pub async fn admit(
        &self,
        model: &Model,
        exchange: Exchange,
        fingerprint: u64,
    ) -> Result<Admission, Refusal> {
        self.catalogue.check_ready(model)?;
        let Exchange { id, connection } = exchange;
        let permit = self.unit_pool.acquire(id, model)?;
        self.granted.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault(model, fingerprint);
        if let Some(fault) = &fault
            && let Some(answer) = fault.replace_answer(&model.id, &connection).await
        {
            permit.release();
            return Ok(Admission::Answered(answer));
        }
        let tokens_per_second = self.config.tokens_per_second;
        Ok(Admission::Granted(Delivery {
            permit,
            tokens_per_second,
            fault,
            connection,
        }))
    }

    /// The fault of this attempt. `None` if the model's id names no fault, or if the request has
    /// already failed as often as the id says.
    pub fn fault(&self, model: &Model, fingerprint: u64) -> Option<FaultId> {
        let fault = FaultId::read(&model.id)?;
        let fails = fault
            .failures
            .is_none_or(|max| self.attempts.fails(fingerprint, max));
        fails.then_some(fault)
    }
}
