//! The wait of a call for units: at the account that probably has room first. If another account has room
//! before, the call starts there.

use std::pin::pin;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    super::{UpstreamAccount, bit},
    Turn,
};
use crate::{admission::Permit, error::Result, service::call::Call};

impl<'a> Turn<'a> {
    /// Waits for units at `account`. If another account that has not been asked has room first, takes
    /// them there. Returns the account, and the permit.
    ///
    /// # Errors
    /// As for [`Units::acquire`](crate::service::units::Units::acquire), at `account`.
    pub(in crate::service) async fn acquire(
        &mut self,
        call: &Call,
        account: &'a UpstreamAccount,
    ) -> Result<(&'a UpstreamAccount, Permit)> {
        if self.accounts.list().len() == 1 {
            let permit = account.units.acquire(call, &self.model).await?;
            return Ok((account, permit));
        }
        // In memory of its own, so that calls with one account do not carry it.
        Box::pin(self.acquire_first(call, account)).await
    }

    async fn acquire_first(
        &mut self,
        call: &Call,
        account: &'a UpstreamAccount,
    ) -> Result<(&'a UpstreamAccount, Permit)> {
        let (accounts, since) = (self.accounts, Instant::now());
        let others = accounts.members(self.eligible & !self.asked);
        let (other, permit) = {
            let mut waiting = pin!(account.units.acquire(call, &self.model));
            // Nothing of it is done if the request starts at once.
            let mut elsewhere = pin!(async {
                let mut rooms: FuturesUnordered<_> = others.map(next_room).collect();
                let mut passed_on = Vec::new();
                while let Some((other, change)) = rooms.next().await {
                    if let Some(permit) = self.try_at(call, other, since) {
                        // There may be more.
                        other.units.pass_room_on();
                        return (other, permit);
                    }
                    // Of each change each request hears once at most.
                    let seen = (other.index, change);
                    if !passed_on.contains(&seen) {
                        passed_on.retain(|(index, _)| *index != other.index);
                        passed_on.push(seen);
                        other.units.pass_room_on();
                    }
                    rooms.push(next_room(other));
                }
                std::future::pending().await
            });
            tokio::select! {
                biased;
                permit = &mut waiting => return Ok((account, permit?)),
                found = &mut elsewhere => found,
            }
        };
        // It waits no more: the queue has been left.
        other.units.note_start(call, &permit, since);
        self.asked = (self.asked & !bit(account.index)) | bit(other.index);
        Ok((other, permit))
    }

    /// The units of the call at `account`, if it can start there now.
    fn try_at(&self, call: &Call, account: &UpstreamAccount, since: Instant) -> Option<Permit> {
        let now = Instant::now();
        let gated = &self.accounts.0.gated;
        if gated.has(account.index, &self.model, now)
            || self.accounts.circuits().check(&account.name, now).is_err()
            || account.circuits.check(&self.model, now).is_err()
        {
            return None;
        }
        let copy = self.copy.as_deref();
        account.units.try_acquire(call, &self.model, copy, since)
    }
}

/// Completes when the account may have room. Returns the number of the change too.
async fn next_room(account: &UpstreamAccount) -> (&UpstreamAccount, u64) {
    (account, account.units.room().await)
}
