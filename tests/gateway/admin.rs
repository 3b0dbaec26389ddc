//! The administration of keys, by its REST paths, by gRPC and by gRPC-Web.

mod audit;
mod doors;
mod json;
mod keys;
mod open;
mod roles;
mod usage;
