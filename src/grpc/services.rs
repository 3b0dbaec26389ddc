//! The gRPC services that need a key. The path of a request names its method. There is no router
//! between: axum's clones and boxes a service for each of its layers.

use std::{convert::Infallible, future::ready};

use axum::{BoxError, body::Body, response::Response};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Map},
};
use http::Request;
use http_body::Body as HttpBody;
use tower::Service;

use super::{
    admin,
    compression::response::{compress, compress_stream},
    exchange::{exchange, streamed, unary},
    response,
};
use crate::{
    error::Error,
    proto::admin::v1::{
        key_service_server::{self, KeyServiceServer},
        usage_service_server::{self, UsageServiceServer},
    },
    proto::v1::{
        account_service_server::{self, AccountServiceServer},
        caller_service_server::{self, CallerServiceServer},
        chat_service_server, completion_service_server, embedding_service_server,
        model_service_server::{self, ModelServiceServer},
    },
    service::{
        Account, AdminKeys, AdminUsage, Caller, Chat, Completions, Embeddings, Models, Services,
        UnaryOrStream,
    },
};

/// The answer to a gRPC request, as tonic gives it.
type TonicAnswer = Result<http::Response<tonic::body::Body>, Infallible>;

/// The services.
pub(crate) struct GrpcServices {
    chat: Chat,
    completions: Completions,
    embeddings: Embeddings,
    models: ModelServiceServer<Models>,
    account: AccountServiceServer<Account>,
    admin_keys: KeyServiceServer<AdminKeys>,
    admin_usage: UsageServiceServer<AdminUsage>,
    caller: CallerServiceServer<Caller>,
}

/// A method that models answer, or one of the other services.
#[derive(Clone, Copy, Debug)]
enum Target {
    CreateChatCompletion,
    StreamChatCompletion,
    CreateCompletion,
    StreamCompletion,
    CreateEmbedding,
    Models,
    Account,
    WatchConcurrency,
    AdminKeys,
    AdminUsage,
    ExportCalls,
    Caller,
}

impl GrpcServices {
    /// A message has at most `bytes_max` bytes.
    pub(crate) fn new(services: Services, bytes_max: usize) -> Self {
        let Services {
            chat,
            completions,
            embeddings,
            models,
            account,
            admin_keys,
            admin_usage,
            caller,
            gauges: _,
        } = services;
        Self {
            chat,
            completions,
            embeddings,
            models: ModelServiceServer::new(models).max_decoding_message_size(bytes_max),
            account: AccountServiceServer::new(account).max_decoding_message_size(bytes_max),
            admin_keys: KeyServiceServer::new(admin_keys)
                .max_decoding_message_size(admin::MESSAGE_BYTES_MAX),
            admin_usage: UsageServiceServer::new(admin_usage)
                .max_decoding_message_size(admin::MESSAGE_BYTES_MAX),
            caller: CallerServiceServer::new(caller)
                .max_decoding_message_size(admin::MESSAGE_BYTES_MAX),
        }
    }

    /// Whether `path` is below one of these services.
    pub(crate) fn have(path: &str) -> bool {
        matches!(
            split(path),
            Some((
                chat_service_server::SERVICE_NAME
                    | completion_service_server::SERVICE_NAME
                    | embedding_service_server::SERVICE_NAME
                    | model_service_server::SERVICE_NAME
                    | account_service_server::SERVICE_NAME
                    | key_service_server::SERVICE_NAME
                    | usage_service_server::SERVICE_NAME
                    | caller_service_server::SERVICE_NAME,
                _
            ))
        )
    }

    /// Whether `path` is below a service of the administration.
    pub(crate) fn is_admin(path: &str) -> bool {
        matches!(
            split(path),
            Some((
                key_service_server::SERVICE_NAME | usage_service_server::SERVICE_NAME,
                _
            ))
        )
    }

    /// Whether `path` is below the service for the caller's own key.
    pub(crate) fn is_own(path: &str) -> bool {
        matches!(split(path), Some((caller_service_server::SERVICE_NAME, _)))
    }

    /// Answers a request to one of these services.
    pub(crate) fn answer<B>(&self, request: Request<B>) -> BoxFuture<'_, Response>
    where
        B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        let Some(target) = Target::of(request.uri().path()) else {
            let error = Error::internal("a path without a method");
            return ready(response::refuse(error, request.headers())).boxed();
        };
        match target {
            Target::CreateChatCompletion => {
                let answer = |call, message| self.chat.unary(call, message);
                let next = move |request| exchange(request, answer, unary);
                compress(request, next).boxed()
            }
            Target::StreamChatCompletion => {
                let answer = |call, message| self.chat.stream(call, message);
                exchange(request, answer, streamed).boxed()
            }
            Target::CreateCompletion => {
                let answer = |call, message| self.completions.unary(call, message);
                let next = move |request| exchange(request, answer, unary);
                compress(request, next).boxed()
            }
            Target::StreamCompletion => {
                let answer = |call, message| self.completions.stream(call, message);
                exchange(request, answer, streamed).boxed()
            }
            Target::CreateEmbedding => {
                let answer = |call, message| self.embeddings.create(call, message);
                exchange(request, answer, unary).boxed()
            }
            Target::Models => compress(request, by_tonic(&self.models)).boxed(),
            Target::Account => compress(request, by_tonic(&self.account)).boxed(),
            // The list of all keys may be large.
            Target::WatchConcurrency => compress_stream(request, by_tonic(&self.account)).boxed(),
            Target::AdminUsage => compress(request, by_tonic(&self.admin_usage)).boxed(),
            Target::ExportCalls => by_tonic(&self.admin_usage)(request).boxed(),
            Target::Caller => compress(request, by_tonic(&self.caller)).boxed(),
            Target::AdminKeys => compress(request, by_tonic(&self.admin_keys)).boxed(),
        }
    }
}

impl Target {
    /// The target of a request with this path.
    fn of(path: &str) -> Option<Self> {
        Some(match split(path)? {
            (chat_service_server::SERVICE_NAME, method) => match method {
                "CreateChatCompletion" => Self::CreateChatCompletion,
                "StreamChatCompletion" => Self::StreamChatCompletion,
                _ => return None,
            },
            (completion_service_server::SERVICE_NAME, method) => match method {
                "CreateCompletion" => Self::CreateCompletion,
                "StreamCompletion" => Self::StreamCompletion,
                _ => return None,
            },
            (embedding_service_server::SERVICE_NAME, "CreateEmbedding") => Self::CreateEmbedding,
            (model_service_server::SERVICE_NAME, _) => Self::Models,
            (account_service_server::SERVICE_NAME, "WatchConcurrency") => Self::WatchConcurrency,
            (account_service_server::SERVICE_NAME, _) => Self::Account,
            (key_service_server::SERVICE_NAME, _) => Self::AdminKeys,
            (usage_service_server::SERVICE_NAME, "ExportCalls") => Self::ExportCalls,
            (usage_service_server::SERVICE_NAME, _) => Self::AdminUsage,
            (caller_service_server::SERVICE_NAME, _) => Self::Caller,
            _ => return None,
        })
    }
}

/// The service and the method in a path `/package.Service/Method`.
fn split(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!method.is_empty()).then_some((service, method))
}

/// Answers by a server of tonic. The clone of a server counts one more owner of the service.
fn by_tonic<B, S>(server: &S) -> impl FnOnce(Request<B>) -> Answer<S::Future> + use<B, S>
where
    S: Service<Request<B>, Response = http::Response<tonic::body::Body>, Error = Infallible>
        + Clone,
{
    let mut server = server.clone();
    move |request| {
        server
            .call(request)
            .map(of_tonic as fn(TonicAnswer) -> Response)
    }
}

/// The answer of a server of tonic.
type Answer<F> = Map<F, fn(TonicAnswer) -> Response>;

fn of_tonic(answer: TonicAnswer) -> Response {
    match answer {
        Ok(response) => response.map(Body::new),
        Err(impossible) => match impossible {},
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};

    use super::*;
    use crate::{
        grpc::descriptor_set,
        service::tests::{FUTURE_BYTES_MAX, services},
    };

    #[tokio::test]
    async fn the_futures_of_this_door_are_small() {
        let services = GrpcServices::new(services(), 1);
        let size = |path: &str| {
            let body = Empty::<Bytes>::new().map_err(BoxError::from);
            let request = Request::post(path).body(body).unwrap();
            size_of_val(&*services.answer(request))
        };
        let sizes: Vec<_> = paths().map(|path| (size(&path), path)).collect();
        assert!(
            sizes.iter().all(|(size, _)| *size <= FUTURE_BYTES_MAX),
            "{sizes:?}"
        );
    }

    /// The paths of the methods of these services.
    fn paths() -> impl Iterator<Item = String> {
        let files = descriptor_set::files().unwrap();
        let paths = files.into_iter().flat_map(|file| {
            let package = file.proto.package().to_owned();
            file.proto.service.into_iter().flat_map(move |service| {
                let service_path = format!("/{package}.{}", service.name());
                let methods = service.method.into_iter();
                methods.map(move |method| format!("{service_path}/{}", method.name()))
            })
        });
        paths.filter(|path| GrpcServices::have(path))
    }

    #[test]
    fn every_method_of_these_services_has_a_target() {
        assert!(paths().count() >= 11);
        for path in paths() {
            assert!(Target::of(&path).is_some(), "{path}");
        }
        assert!(Target::of("/featherwire.v1.ChatService/Unknown").is_none());
    }
}
