//! A collector of OpenTelemetry: it takes spans by OTLP over HTTP and over gRPC, at one port, and
//! keeps them.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use http::Uri;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::Event},
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::clock::PATIENCE;

/// The collector. It runs until the value is dropped.
pub struct Collector {
    pub address: SocketAddr,
    taken: watch::Sender<Taken>,
    task: JoinHandle<()>,
}

/// What came.
#[derive(Clone, Default)]
pub struct Taken {
    pub requests: Vec<ExportTraceServiceRequest>,
    /// The headers, or metadata, of each request.
    pub headers: Vec<HeaderMap>,
    /// The status with which the next requests are refused. It is one of HTTP.
    refusal: Option<u16>,
    pub refused: usize,
}

impl Collector {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = watch::Sender::new(Taken::default());
        let service = TraceServiceServer::new(Receiver(taken.clone()));
        let routes = tonic::service::Routes::new(service).into_axum_router();
        let http = Router::new().route("/v1/traces", post(take));
        let router = routes.merge(http.with_state(taken.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            taken,
            task,
        }
    }

    pub fn url(&self) -> Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// From now on, requests over HTTP are refused with this status. `None` takes them.
    pub fn refuse(&self, status: Option<u16>) {
        self.taken.send_modify(|taken| taken.refusal = status);
    }

    /// Waits until `number` spans have come. Returns all that came.
    pub async fn wait_for(&self, number: usize) -> Vec<Span> {
        self.until("spans come", |taken| taken.spans().len() >= number)
            .await
            .spans()
    }

    /// Waits for something.
    pub async fn until(&self, what: &str, condition: impl Fn(&Taken) -> bool) -> Taken {
        let mut taken = self.taken.subscribe();
        let wait = taken.wait_for(condition);
        let taken = tokio::time::timeout(PATIENCE, wait).await;
        let taken = taken.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
        taken.unwrap().clone()
    }

    /// What came so far.
    pub fn taken(&self) -> Taken {
        self.taken.borrow().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Taken {
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests.iter().flat_map(|it| &it.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All bytes of all requests.
    pub fn bytes(&self) -> Vec<u8> {
        let requests = self.requests.iter().map(Message::encode_to_vec);
        requests.collect::<Vec<_>>().concat()
    }

    fn add(&mut self, request: ExportTraceServiceRequest, headers: HeaderMap) {
        self.requests.push(request);
        self.headers.push(headers);
    }
}

/// The value of an attribute of a span, an event or a resource, as a text.
pub fn value(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => panic!("{name}: {other:?}"),
    })
}

/// The events of a span with this name.
pub fn events<'a>(span: &'a Span, name: &str) -> Vec<&'a Event> {
    let events = span.events.iter();
    events.filter(|event| event.name == name).collect()
}

/// The id as W3C's header has it.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn take(
    State(taken): State<watch::Sender<Taken>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut status = StatusCode::OK;
    taken.send_modify(|taken| match taken.refusal {
        Some(refusal) => {
            taken.refused += 1;
            status = StatusCode::from_u16(refusal).unwrap();
        }
        None => taken.add(request, headers),
    });
    (
        status,
        ExportTraceServiceResponse::default().encode_to_vec(),
    )
}

struct Receiver(watch::Sender<Taken>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        self.0.send_modify(|taken| taken.add(request, headers));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}
