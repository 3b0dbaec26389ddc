//! The administration of keys, by its REST paths, by gRPC and by gRPC-Web.

mod arguments;
mod audit;
mod budgets;
mod command_line;
mod contradictions;
mod doors;
mod json;
mod keys;
mod ledger_bounds;
mod ledger_commands;
mod listen;
mod open;
mod pages;
mod rest;
mod roles;
mod texts;
mod usage;
