//! The names of the keys in Redis.

use super::{
    super::message::{Epoch, MemberId},
    mailbox::Mailbox,
};

/// The names of the keys of one cluster.
#[derive(Debug)]
pub(super) struct Names {
    /// Who leads: a hash of `member`, `epoch` and `at`, the time of the last renewal.
    pub(super) lease: String,
    /// The last epoch.
    pub(super) last_epoch: String,
    /// When each member campaigned last: a sorted set.
    pub(super) heard: String,
    /// What each member tells all: a hash.
    pub(super) notes: String,
    /// Since when members have campaigned without a gap: a hash of `from` and `last`.
    pub(super) window: String,
    /// What the leader tells all.
    pub(super) view: String,
    /// The members that have left, and when: a sorted set.
    pub(super) left: String,
    prefix: String,
}

impl Names {
    pub(super) fn new(space: &str) -> Self {
        // A hash tag ends at the first brace.
        let space = space.replace(['{', '}'], "_");
        let prefix = format!("featherwire:{{{space}}}:");
        let name = |what: &str| format!("{prefix}{what}");
        Self {
            lease: name("lease"),
            last_epoch: name("epoch"),
            heard: name("heard"),
            notes: name("notes"),
            window: name("window"),
            view: name("view"),
            left: name("left"),
            prefix,
        }
    }

    /// The time of a limit: a hash of `ahead`, in nanoseconds, and `at`, when it was that far ahead.
    pub(super) fn rate(&self, name: &str) -> String {
        format!("{}rate:{name}", self.prefix)
    }

    /// A key of this kind, which the check of the user's rights uses and deletes.
    pub(super) fn check(&self, kind: &str) -> String {
        format!("{}check:{kind}", self.prefix)
    }

    /// The stream of what is told about a topic.
    pub(super) fn topic(&self, topic: &str) -> String {
        format!("{}topic:{topic}", self.prefix)
    }

    /// The stream of the messages to a member or to a leader.
    pub(super) fn stream(&self, of: Mailbox) -> String {
        let prefix = &self.prefix;
        match of {
            Mailbox::Member(MemberId(member)) => format!("{prefix}member:{member}"),
            Mailbox::Leader(Epoch(epoch)) => format!("{prefix}leader:{epoch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_cluster_have_one_hash_tag() {
        let names = Names::new("a{b}c");
        let streams = [
            names.stream(Mailbox::Member(MemberId(u64::MAX))),
            names.stream(Mailbox::Leader(Epoch(1))),
            names.topic("circuits"),
            names.rate("a"),
            names.check("hash"),
        ];
        let keys = [
            &names.lease,
            &names.last_epoch,
            &names.heard,
            &names.notes,
            &names.window,
            &names.view,
            &names.left,
        ];
        for key in keys.into_iter().chain(&streams) {
            let tag = key
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            assert_eq!(tag.map(|(tag, _)| tag), Some("a_b_c"), "{key}");
        }
    }
}
