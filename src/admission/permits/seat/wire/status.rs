//! The state of the queue, as protobuf.

use std::{collections::HashMap, time::Duration};

use prost::Message;

use super::super::view;
use crate::{
    admission::{
        request::{KeyId, PerPriority},
        status::{KeyStatus, QueueStatus},
    },
    cluster::message::MemberId,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct View {
    #[prost(uint32, optional, tag = "1")]
    capacity: Option<u32>,
    #[prost(uint32, tag = "2")]
    external_units: u32,
    #[prost(uint32, tag = "3")]
    in_use: u32,
    #[prost(uint32, tag = "4")]
    cooldown_units: u32,
    #[prost(uint64, tag = "5")]
    running: u64,
    /// Interactive, default, batch.
    #[prost(uint64, tag = "6")]
    queued_interactive: u64,
    #[prost(uint64, tag = "7")]
    queued_default: u64,
    #[prost(uint64, tag = "8")]
    queued_batch: u64,
    #[prost(uint64, tag = "9")]
    bypassed: u64,
    #[prost(uint64, optional, tag = "10")]
    oldest_us: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    wait_p50_us: Option<u64>,
    #[prost(uint64, optional, tag = "12")]
    wait_p99_us: Option<u64>,
    #[prost(message, repeated, tag = "13")]
    keys: Vec<Key>,
    #[prost(uint64, tag = "14")]
    refusals: u64,
    #[prost(map = "fixed64, uint32", tag = "15")]
    held: HashMap<u64, u32>,
    #[prost(fixed64, repeated, tag = "16")]
    lost: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Key {
    #[prost(fixed64, tag = "1")]
    key: u64,
    #[prost(uint32, tag = "2")]
    weight: u32,
    #[prost(uint32, tag = "3")]
    in_use: u32,
    #[prost(uint64, tag = "4")]
    queued: u64,
    #[prost(double, tag = "5")]
    unit_seconds: f64,
}

/// Of how many keys the leader tells. Those with requests come first.
const KEYS_MAX: usize = 1_000;

impl View {
    pub(super) fn new(view: &view::View) -> Self {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let us = |time: Option<Duration>| time.map(super::request::microseconds);
        let status = &view.status;
        let mut keys: Vec<_> = status.keys.iter().collect();
        keys.sort_by_key(|key| key.in_use == 0 && key.queued == 0);
        let keys = keys.into_iter().take(KEYS_MAX).map(|key| Key {
            key: key.key.0,
            weight: key.weight,
            in_use: key.in_use,
            queued: count(key.queued),
            unit_seconds: key.unit_seconds,
        });
        Self {
            capacity: status.capacity,
            external_units: status.external_units,
            in_use: status.in_use,
            cooldown_units: status.cooldown_units,
            running: count(status.running),
            queued_interactive: count(status.queued.interactive),
            queued_default: count(status.queued.default),
            queued_batch: count(status.queued.batch),
            bypassed: count(status.bypassed),
            oldest_us: us(status.oldest),
            wait_p50_us: us(status.wait_p50),
            wait_p99_us: us(status.wait_p99),
            keys: keys.collect(),
            refusals: view.refusals,
            lost: view.lost.iter().map(|id| id.0).collect(),
            held: view.held.iter().map(|(id, &units)| (id.0, units)).collect(),
        }
    }

    pub(super) fn read(self) -> view::View {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let mut keys: Vec<_> = self
            .keys
            .into_iter()
            .map(|key| KeyStatus {
                key: KeyId(key.key),
                weight: key.weight,
                in_use: key.in_use,
                queued: count(key.queued),
                unit_seconds: key.unit_seconds,
            })
            .collect();
        keys.sort_by_key(|key| key.key);
        let status = QueueStatus {
            capacity: self.capacity,
            external_units: self.external_units,
            in_use: self.in_use,
            cooldown_units: self.cooldown_units,
            running: count(self.running),
            queued: PerPriority {
                interactive: count(self.queued_interactive),
                default: count(self.queued_default),
                batch: count(self.queued_batch),
            },
            bypassed: count(self.bypassed),
            oldest: self.oldest_us.map(Duration::from_micros),
            wait_p50: self.wait_p50_us.map(Duration::from_micros),
            wait_p99: self.wait_p99_us.map(Duration::from_micros),
            keys,
        };
        view::View {
            status,
            refusals: self.refusals,
            lost: self.lost.into_iter().map(MemberId).collect(),
            held: self
                .held
                .into_iter()
                .map(|(id, units)| (MemberId(id), units))
                .collect(),
        }
    }
}
