//! Letting a request in: it takes the units its model costs, and meets the faults that strike before any answer.

use axum::response::Response;

use super::Emulator;
use super::delivery::Delivery;
use super::faults::Trouble;
use super::models::Model;
use super::refusal::Refusal;
use super::router::RequestId;

pub enum Admission {
    /// Go on, and answer through this.
    Granted(Delivery),
    /// A fault has answered already.
    Answered(Response),
}

impl Emulator {
    pub async fn admit(
        &self,
        model: &Model,
        cost: u32,
        RequestId(id): RequestId,
        fingerprint: u64,
    ) -> Result<Admission, Refusal> {
        let trouble = Trouble::of(&model.id);
        let delivery = Delivery {
            permit: self.ledger.acquire(id, model, cost)?,
            tokens_per_second: self.config.tokens_per_second,
            trouble,
        };
        if let Some(trouble) = trouble
            && let Some(answer) = trouble.strike_early(&model.id, &self.attempts, fingerprint).await?
        {
            return Ok(Admission::Answered(answer));
        }
        Ok(Admission::Granted(delivery))
    }
}
