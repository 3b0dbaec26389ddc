//! Carries messages between gateways through Redis: one task takes part in the election, one sends,
//! and one reads what others send. All end with the future that runs them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Seat,
    core::{Core, Seen, ToMember},
    plans, wire,
};
use crate::cluster::{
    message::{Epoch, MemberId},
    redis::{Candidate, Mailbox, MailboxReader, Redis},
};

/// How often a gateway takes part in the election.
const CAMPAIGN_INTERVAL: Duration = Duration::from_secs(1);

/// After this time without a word of the leader, its lease may soon end.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// How soon it tries again if Redis does not answer, or the leader is silent.
const CAMPAIGN_RETRY: Duration = Duration::from_millis(250);

/// How long a gateway that leaves waits for Redis.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(2);

/// The tasks of a seat.
pub(in crate::admission::permits) struct Link {
    seat: Arc<Seat>,
    redis: Redis,
    member: MemberId,
    /// The epoch in which this gateway leads.
    leads: watch::Sender<Option<Epoch>>,
    /// Signals that another gateway may lead now.
    look: Notify,
}

impl Link {
    pub(in crate::admission::permits) fn new(seat: Arc<Seat>, redis: Redis) -> Self {
        let member = seat.lock().member.id();
        Self {
            seat,
            redis,
            member,
            leads: watch::Sender::new(None),
            look: Notify::new(),
        }
    }

    /// Carries messages. It never completes.
    pub(in crate::admission::permits) async fn run(&self) {
        tokio::join!(
            self.campaign(),
            self.send(),
            self.read_as_member(),
            self.read_as_leader()
        );
    }

    /// Leaves the cluster, so that the others need not wait for this gateway.
    pub(in crate::admission::permits) async fn leave(&self) {
        self.seat.change(Core::leave);
        let leaving = async {
            self.send_waiting().await;
            self.redis.resign(self.member).await
        };
        match tokio::time::timeout(RESIGN_TIMEOUT, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => {
                tracing::debug!(
                    account = self.account(),
                    %problem,
                    "the cluster was not told of the end"
                )
            }
            Err(_) => tracing::debug!(
                account = self.account(),
                "the cluster was not told of the end in time"
            ),
        }
    }

    fn account(&self) -> &str {
        &self.seat.shared.account
    }

    /// Takes part in the election, again and again.
    async fn campaign(&self) {
        while !self.seat.lock().has_left() {
            let asked_at = Instant::now();
            let now = asked_at.into_std();
            let (known_epoch, may_lead, view, units) = {
                let core = self.seat.lock();
                (
                    core.known_epoch(),
                    core.may_lead(),
                    core.own_view(now),
                    core.units(),
                )
            };
            let candidate = Candidate {
                member: self.member,
                known_epoch,
                may_lead,
                note: plans::note(units).into(),
                view: view.map(|view| wire::encode_view(&view).into()),
            };
            let pause = match self.redis.campaign(candidate).await {
                Ok(standing) => {
                    let seen = Seen {
                        asked_at: now,
                        clock: standing.clock,
                        leader: standing.leader,
                        members: standing.members.iter().map(|&(member, _)| member).collect(),
                        units_of_others: (standing.members.iter())
                            .filter(|(member, _)| *member != self.member)
                            .filter_map(|(_, note)| plans::read(note))
                            .collect(),
                        left: standing.left.into_iter().collect(),
                        are_members_complete: standing.are_members_complete,
                    };
                    let view = standing
                        .view
                        .and_then(|bytes| wire::decode_view(&bytes).ok());
                    self.seat.change(|core, now| {
                        core.see(now, seen);
                        if let Some(view) = view {
                            core.take_view(view);
                        }
                    });
                    match self.seat.cluster_status().silent_for {
                        silent if silent < SILENT_AFTER => CAMPAIGN_INTERVAL,
                        _ => CAMPAIGN_RETRY,
                    }
                }
                Err(problem) => {
                    tracing::debug!(
                        account = self.account(),
                        %problem,
                        "an election of the cluster has failed"
                    );
                    self.seat.change(|core, now| core.miss(now, &problem));
                    CAMPAIGN_RETRY
                }
            };
            let leads = self.seat.lock().leads();
            self.leads
                .send_if_modified(|known| std::mem::replace(known, leads) != leads);
            tokio::select! {
                () = sleep_until(asked_at + pause) => {}
                () = self.look.notified() => {}
            }
        }
    }

    /// Sends what waits to be sent. While Redis is slow, more comes together in one message.
    async fn send(&self) {
        loop {
            self.seat.outgoing.notified().await;
            self.send_waiting().await;
        }
    }

    async fn send_waiting(&self) {
        let outgoing = self.seat.lock().take_outgoing();
        let now = Instant::now().into_std();
        if let Some(last) = outgoing.to_leader.last() {
            // What was for an earlier leader is of no use.
            let epoch = last.epoch;
            let messages = outgoing.to_leader.iter().filter(|one| one.epoch == epoch);
            let bytes = wire::encode_to_leader(messages, now);
            if let Err(problem) = self.redis.to_leader(epoch, bytes.into()).await {
                tracing::debug!(
                    account = self.account(),
                    %problem,
                    "messages to the leader of the cluster are lost"
                );
            }
        }
        let Some((_, last)) = outgoing.to_members.last() else {
            return;
        };
        let epoch = last.epoch;
        let mut members = BTreeMap::<MemberId, Vec<ToMember>>::new();
        for (member, message) in outgoing.to_members {
            if message.epoch == epoch {
                members.entry(member).or_default().push(message);
            }
        }
        let messages = members
            .into_iter()
            .map(|(member, messages)| (member, wire::encode_to_member(&messages).into()))
            .collect();
        match self.redis.to_members(self.member, epoch, messages).await {
            Ok(true) => {}
            Ok(false) => self.look.notify_one(),
            Err(problem) => {
                tracing::debug!(
                    account = self.account(),
                    %problem,
                    "messages to members are lost"
                );
                self.seat.change(Core::suspend);
                self.look.notify_one();
            }
        }
    }

    async fn read_as_member(&self) {
        let mut mailbox = self.redis.mailbox(Mailbox::Member(self.member));
        loop {
            for bytes in next(&mut mailbox, self.account()).await {
                match wire::decode_to_member(&bytes) {
                    Ok(messages) => self.seat.change(|core, now| {
                        for message in messages {
                            core.receive_as_member(now, message);
                        }
                    }),
                    Err(wire::Unknown) => not_understood(self.account()),
                }
            }
        }
    }

    async fn read_as_leader(&self) {
        let mut leads = self.leads.subscribe();
        loop {
            let epoch = *leads.borrow_and_update();
            let reading = async {
                match epoch {
                    Some(epoch) => self.read_epoch(epoch).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = reading => {}
                // It cannot fail: the sender is in `self`.
                _ = leads.changed() => {}
            }
        }
    }

    async fn read_epoch(&self, epoch: Epoch) {
        let mut mailbox = self.redis.mailbox(Mailbox::Leader(epoch));
        loop {
            for bytes in next(&mut mailbox, self.account()).await {
                let now = Instant::now().into_std();
                match wire::decode_to_leader(&bytes, now) {
                    Ok(messages) => self.seat.change(|core, now| {
                        for message in messages {
                            core.receive_as_leader(now, message);
                        }
                    }),
                    Err(wire::Unknown) => not_understood(self.account()),
                }
            }
        }
    }
}

/// The next messages. A failed attempt is tried again.
async fn next(mailbox: &mut MailboxReader, account: &str) -> Vec<Bytes> {
    loop {
        match mailbox.next().await {
            Ok(messages) => return messages,
            Err(problem) => {
                tracing::debug!(account, %problem, "messages of the cluster cannot be read");
                // The mailbox itself waits before an attempt; this is only against a loop without
                // any wait.
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

fn not_understood(account: &str) {
    tracing::warn!(
        account,
        "a message of the cluster was not understood: it is of another version"
    );
}
