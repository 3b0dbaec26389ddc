//! The gRPC door: protobuf in, a method of the services, protobuf out. It serves gRPC, gRPC-Web and
//! Connect, and the protocols of health and reflection.
//!
//! It is built like the [REST door](crate::rest), with the same names for the same things:
//!
//! | file | this door | the REST door |
//! |---|---|---|
//! | `exchange` | the methods that models answer | `unary_or_stream`, `embeddings` |
//! | `account`, `models` | tonic's traits for the other services | handlers for the services |
//! | `admin` | tonic's traits for the administration | `transcode`: all that follows from the contract |
//! | `services` | the service that a path names | `routes` has the paths |
//! | `call` | a [`Call`](crate::service::Call) from metadata | the same from headers |
//! | `request` | limits and framing of messages | media type, limits and decoding of a body |
//! | `message` | the messages of bodies | |
//! | `response` | statuses and replies | JSON bodies |
//! | `unary`, `stream` | the bodies of answers | `stream`; `sse` has its events |
//! | `compression` | `grpc-encoding` | `Content-Encoding` |
//! | `connect` | Connect, translated from and to gRPC | |
//! | `unknown` | methods that don't exist | paths that don't exist |
//!
//! Which layers a request passes, and in which order, [`server`](crate::server) says.

mod account;
mod admin;
mod call;
mod caller;
pub(crate) mod compression;
pub(crate) mod connect;
mod content_type;
pub(crate) mod descriptor_set;
mod exchange;
pub(crate) mod health;
pub(crate) mod large_message;
mod message;
mod message_rules;
mod message_scanner;
pub(crate) mod methods;
mod models;
mod only_grpc;
pub(crate) mod read_timeout;
pub(crate) mod reflection;
pub(crate) mod request;
mod response;
mod services;
mod stream;
mod surrogates;
mod unary;
mod unknown;

pub(crate) use content_type::is_grpc;
pub(crate) use only_grpc::only_grpc;
pub(crate) use response::refuse;
pub(crate) use services::GrpcServices;
pub(crate) use unknown::unknown_method;
