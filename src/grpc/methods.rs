//! The gRPC methods of this gateway, and the error for any other.

use std::collections::BTreeMap;

use prost_types::{MethodOptions, method_options::IdempotencyLevel};

use super::descriptor_set::File;
use crate::error::{Error, ErrorCode};

/// The longest part of a path that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 128;

/// The properties of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    /// Whether the request is a stream of messages. If not, it has exactly one.
    pub(crate) takes_stream: bool,
    /// Whether the answer is a stream of messages. If not, it has exactly one.
    pub(crate) is_stream: bool,
    /// Whether a call may change something. If not, Connect also has it as a `GET`.
    pub(crate) has_side_effects: bool,
}

/// The methods of each service, by the service's full name.
#[derive(Debug)]
pub(crate) struct Methods(BTreeMap<String, BTreeMap<String, Method>>);

impl Methods {
    /// The methods of the services that `files` declare.
    pub(crate) fn new(files: &[File]) -> Self {
        let services = files.iter().flat_map(|file| {
            file.proto
                .service
                .iter()
                .map(move |service| (file, service))
        });
        let methods = services.map(|(file, service)| {
            let methods = service.method.iter().map(|method| {
                let options = method.options.as_ref();
                let level = options.map(MethodOptions::idempotency_level);
                let properties = Method {
                    takes_stream: method.client_streaming(),
                    is_stream: method.server_streaming(),
                    has_side_effects: level != Some(IdempotencyLevel::NoSideEffects),
                };
                (method.name().to_owned(), properties)
            });
            (
                format!("{}.{}", file.proto.package(), service.name()),
                methods.collect(),
            )
        });
        Self(methods.collect())
    }

    /// The method with this path, `/package.Service/Method`.
    ///
    /// # Errors
    /// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod) if the service or the method does not
    /// exist. The message lists the existing ones.
    pub(crate) fn find(&self, path: &str) -> Result<Method, Error> {
        let (service, name) = path
            .strip_prefix('/')
            .and_then(|path| path.rsplit_once('/'))
            .unwrap_or((path, ""));
        let Some(methods) = self.0.get(service) else {
            let message = format!(
                "There is no gRPC service {}: the services are {}. Paths are \
                 /package.Service/Method",
                quoted(service),
                list(self.0.keys())
            );
            return Err(Error::new(ErrorCode::UnknownService, message));
        };
        methods.get(name).copied().ok_or_else(|| {
            let message = format!(
                "{service} has no method {}: its methods are {}",
                quoted(name),
                list(methods.keys())
            );
            Error::new(ErrorCode::UnknownMethod, message)
        })
    }
}

fn quoted(name: &str) -> String {
    let name: String = name.chars().take(QUOTED_CHARS_MAX).collect();
    format!("\"{name}\"")
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}
