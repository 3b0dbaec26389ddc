//! The gRPC methods that there are, and what to answer to those who ask for another.

use std::collections::BTreeMap;

use super::contract::File;
use crate::error::{Error, ErrorCode};

/// How much of a path an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 128;

/// How a method is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// Whether it takes a stream of messages. Others take exactly one.
    pub(super) takes_stream: bool,
}

/// The methods of each service.
#[derive(Debug)]
pub(super) struct Methods(BTreeMap<String, BTreeMap<String, Method>>);

impl Methods {
    /// Those of the services in these files.
    pub(super) fn new(files: &[File]) -> Self {
        let services = files.iter().flat_map(|file| {
            file.proto
                .service
                .iter()
                .map(move |service| (file, service))
        });
        let methods = services.map(|(file, service)| {
            let methods = service.method.iter().map(|method| {
                let takes_stream = method.client_streaming();
                (method.name().to_owned(), Method { takes_stream })
            });
            (
                format!("{}.{}", file.proto.package(), service.name()),
                methods.collect(),
            )
        });
        Self(methods.collect())
    }

    /// The method with this path.
    ///
    /// # Errors
    /// WrongMethod, with those that there are.
    pub(super) fn find(&self, path: &str) -> Result<Method, Error> {
        let (service, name) = path
            .strip_prefix('/')
            .and_then(|path| path.rsplit_once('/'))
            .unwrap_or((path, ""));
        let Some(methods) = self.0.get(service) else {
            let message = format!(
                "There is no gRPC service {}: there are {}. Paths are /package.Service/Method",
                quoted(service),
                list(self.0.keys())
            );
            return Err(Error::new(ErrorCode::UnknownService, message));
        };
        methods.get(name).copied().ok_or_else(|| {
            let message = format!(
                "{service} has no method {}: it has {}",
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
