//! Sends spans to a collector, by OTLP over gRPC or over HTTP.
//!
//! These are the messages of `opentelemetry-proto`, sent by our own clients. The exporters of
//! `opentelemetry-otlp` read variables of the environment themselves, where they win over flags and
//! the configuration file, and the batches of its SDK run on a thread without a runtime and do not
//! tell how many spans were lost.

use std::{error::Error as StdError, fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use tonic::{
    Code, Status,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt;

use super::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse, TraceServiceClient};
use crate::{
    build_info,
    tls_client::{self, Trust},
};

/// The longest answer of a collector that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The longest wait that a collector may ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

type BoxError = Box<dyn StdError + Send + Sync>;

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    HttpProtobuf,
}

/// Where spans are sent.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// The protocol.
    pub protocol: Protocol,
    /// The address; over HTTP with the path.
    pub endpoint: Uri,
    /// The headers, or metadata, of each request.
    pub headers: HeaderMap,
    /// The longest wait for an answer.
    pub timeout: Duration,
}

/// A collector.
pub(super) struct Collector {
    client: ClientKind,
    headers: HeaderMap,
    timeout: Duration,
}

enum ClientKind {
    Grpc(TraceServiceClient<Channel>),
    /// With the URL.
    Http(Box<HttpClient>, Uri),
}

/// Why a collector did not take spans.
#[derive(Debug)]
pub(super) struct Failure {
    /// A few words for the log. They have nothing that the collector wrote.
    pub(super) problem: String,
    /// Whether it may take them later, and the wait that it asks for.
    pub(super) retry: Option<Duration>,
}

impl Collector {
    /// A collector with these settings. It is connected when spans are sent.
    ///
    /// # Errors
    /// The certificates of the machine cannot be read.
    pub(super) fn new(settings: CollectorSettings) -> Result<Self, BoxError> {
        let CollectorSettings {
            protocol,
            endpoint,
            headers,
            timeout,
        } = settings;
        let is_https = endpoint.scheme() == Some(&Scheme::HTTPS);
        let client = match protocol {
            Protocol::Grpc => {
                let mut channel = Endpoint::from(endpoint).user_agent(user_agent())?;
                if is_https {
                    channel = channel.tls_config(ClientTlsConfig::new().with_native_roots())?;
                }
                // Each request has the whole time, with the connection.
                let channel = channel.connect_timeout(timeout).connect_lazy();
                ClientKind::Grpc(TraceServiceClient::new(channel))
            }
            Protocol::HttpProtobuf => {
                // The certificates of the machine are read only if they are needed.
                let trust = match is_https {
                    true => Trust::Machine,
                    false => Trust::Nothing,
                };
                let tls = tls_client::config(trust)?.with_no_client_auth();
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(tls)
                    .https_or_http()
                    .enable_http1()
                    .build();
                let client = Client::builder(TokioExecutor::new()).build(connector);
                ClientKind::Http(Box::new(client), endpoint)
            }
        };
        Ok(Self {
            client,
            headers,
            timeout,
        })
    }

    /// Sends spans. Returns how many of them the collector refused.
    ///
    /// # Errors
    /// It took none of them.
    pub(super) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<u64, Failure> {
        let sending = async {
            match &self.client {
                ClientKind::Grpc(client) => self.send_grpc(client.clone(), request).await,
                ClientKind::Http(client, url) => self.send_http(client, url, request).await,
            }
        };
        let answer = tokio::time::timeout(self.timeout, sending).await;
        answer.unwrap_or_else(|_| Err(Failure::of_connection("no answer in time".to_owned())))
    }

    async fn send_grpc(
        &self,
        mut client: TraceServiceClient<Channel>,
        request: &ExportTraceServiceRequest,
    ) -> Result<u64, Failure> {
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = tonic::Request::from_parts(metadata, Default::default(), request.clone());
        match client.export(request).await {
            Ok(answer) => Ok(refused(answer.get_ref())),
            Err(status) => Err(Failure::of_status(&status)),
        }
    }

    async fn send_http(
        &self,
        client: &HttpClient,
        url: &Uri,
        request: &ExportTraceServiceRequest,
    ) -> Result<u64, Failure> {
        const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
        let mut sent = Request::new(Full::new(Bytes::from(request.encode_to_vec())));
        *sent.method_mut() = http::Method::POST;
        *sent.uri_mut() = url.clone();
        sent.headers_mut().clone_from(&self.headers);
        sent.headers_mut().insert(header::CONTENT_TYPE, PROTOBUF);
        if let Ok(user_agent) = HeaderValue::from_str(&user_agent()) {
            sent.headers_mut().insert(header::USER_AGENT, user_agent);
        }
        let (head, body) = match client.request(sent).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(Failure::of_connection(chain(&error))),
        };
        if !head.status.is_success() {
            return Err(Failure::of_http(head.status, &head.headers));
        }
        // It took them. What else it says is of use only if it is complete.
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let answer = body.ok().map(|body| body.to_bytes());
        let answer = answer.and_then(|body| ExportTraceServiceResponse::decode(body).ok());
        Ok(answer.as_ref().map_or(0, refused))
    }
}

impl Failure {
    fn of_connection(problem: String) -> Self {
        Self {
            problem,
            retry: Some(Duration::ZERO),
        }
    }

    fn of_status(status: &Status) -> Self {
        let mut problem = format!("gRPC status {:?}", status.code());
        // A status with a source is of this machine.
        if let Some(source) = status.source() {
            let _ = write!(problem, ": {}", chain(source));
        }
        let details = status.get_error_details();
        let asked = details.retry_info().and_then(|info| info.retry_delay);
        let is_retried = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            // Only a collector that can recover says when.
            Code::ResourceExhausted => asked.is_some(),
            // The connection was lost.
            Code::Unknown => status.source().is_some(),
            _ => false,
        };
        let asked = asked.unwrap_or_default().min(WAIT_MAX);
        Self {
            problem,
            retry: is_retried.then_some(asked),
        }
    }

    fn of_http(status: StatusCode, headers: &HeaderMap) -> Self {
        let is_retried = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let asked = headers.get(header::RETRY_AFTER);
        let asked = asked.and_then(|asked| asked.to_str().ok()?.trim().parse().ok());
        let asked = Duration::from_secs(asked.unwrap_or_default()).min(WAIT_MAX);
        Self {
            problem: format!("HTTP status {}", status.as_u16()),
            retry: is_retried.then_some(asked),
        }
    }
}

/// How many spans a collector refused that took the others.
fn refused(answer: &ExportTraceServiceResponse) -> u64 {
    let partial = answer.partial_success.as_ref();
    partial.map_or(0, |partial| {
        u64::try_from(partial.rejected_spans).unwrap_or(0)
    })
}

fn user_agent() -> String {
    format!("featherwire/{}", build_info::VERSION)
}

/// The messages of an error and of its causes. Those of HTTP clients do not quote the URL.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
