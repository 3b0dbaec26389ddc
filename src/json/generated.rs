//! The JSON codec of each message: its members and their kinds, as `build/json_codec.rs` writes
//! them from the contract.

#![allow(
    unused_variables,
    reason = "generated: not every message has members that can be null"
)]

use super::{
    fill_required::FillRequired,
    macros::{list, object, union},
    members,
};
use crate::proto::v1::*;

include!(concat!(env!("OUT_DIR"), "/json_codec.rs"));
