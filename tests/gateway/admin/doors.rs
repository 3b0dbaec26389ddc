//! One client for the administration through each door. Requests and answers are JSON: for gRPC it
//! is converted by the descriptors of the contract.

use featherwire::proto::DESCRIPTOR_SET;
use http::{Method, uri::PathAndQuery};
use prost::{
    Message,
    bytes::{Buf, BufMut},
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};

use crate::support::{
    connect,
    door::{frame, grpc_failure, parse_trailers},
    rest::{http, status_and_json, with_json},
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Door {
    Rest,
    Grpc,
    Web,
    Connect,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Rest, Self::Grpc, Self::Web, Self::Connect];
}

/// An answer, or the code and the message of an error.
pub type Answer = Result<Value, (String, String)>;

/// The service that has a method.
fn service(method: &str) -> &'static str {
    match method {
        "GetOwnKey" | "GetOwnUsage" => "featherwire.v1.CallerService",
        "QueryUsage" | "ListCalls" => "featherwire.admin.v1.UsageService",
        _ => "featherwire.admin.v1.KeyService",
    }
}

/// A gateway, and the key that is sent to it.
#[derive(Clone)]
pub struct Admin {
    pub address: String,
    pub key: Option<String>,
}

impl Admin {
    pub fn new(address: &str, key: Option<&str>) -> Self {
        Self {
            address: address.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// Calls a method through this door.
    pub async fn call(&self, door: Door, method: &str, request: Value) -> Answer {
        match door {
            Door::Rest => self.rest(method, request).await,
            Door::Grpc => self.grpc(method, &request).await,
            Door::Web => self.web(method, &request).await,
            Door::Connect => self.connect(method, &request).await,
        }
    }

    /// Calls a method by REST, which must succeed.
    pub async fn ok(&self, method: &str, request: Value) -> Value {
        let answer = self.rest(method, request.clone()).await;
        answer.unwrap_or_else(|error| panic!("{method} {request}: {error:?}"))
    }

    /// Sends this to a path of REST: the status, and the JSON of the answer.
    pub async fn send(&self, verb: Method, path: &str, body: Option<String>) -> (u16, Value) {
        let mut request = http().request(verb, format!("{}{path}", self.address));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        status_and_json(request.send().await.unwrap()).await
    }

    async fn rest(&self, method: &str, mut request: Value) -> Answer {
        let mut take = |name: &str| {
            let value = request.as_object_mut().unwrap().remove(name);
            value
                .map(|value| value.as_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        let (verb, path) = match method {
            "CreateKey" => (Method::POST, "/admin/v1/keys".to_owned()),
            "GetKey" => (Method::GET, format!("/admin/v1/keys/{}", take("id"))),
            "ListKeys" => (Method::GET, "/admin/v1/keys".to_owned()),
            "UpdateKey" => (Method::PATCH, format!("/admin/v1/keys/{}", take("id"))),
            "RotateKey" => (
                Method::POST,
                format!("/admin/v1/keys/{}:rotate", take("id")),
            ),
            "RevokeKey" => (
                Method::POST,
                format!("/admin/v1/keys/{}:revoke", take("id")),
            ),
            "DeleteKey" => (Method::DELETE, format!("/admin/v1/keys/{}", take("id"))),
            "ListAuditEvents" => (Method::GET, "/admin/v1/audit".to_owned()),
            "QueryUsage" => (Method::GET, "/admin/v1/usage".to_owned()),
            "ListCalls" => (Method::GET, "/admin/v1/calls".to_owned()),
            "GetOwnKey" => (Method::GET, "/v1/key".to_owned()),
            "GetOwnUsage" => (Method::GET, "/v1/usage".to_owned()),
            other => panic!("{other}"),
        };
        let has_body = matches!(verb, Method::POST | Method::PATCH);
        let (path, body) = if has_body {
            (path, Some(request.to_string()))
        } else {
            // An element of a list is a parameter of its own.
            let members = request.as_object().unwrap().iter();
            let values = members.flat_map(|(name, value)| match value.as_array() {
                Some(elements) => elements.iter().map(|one| (name, one)).collect(),
                None => vec![(name, value)],
            });
            let query = values.map(|(name, value)| {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                format!("{name}={}", value.replace('=', "%3D"))
            });
            (
                format!("{path}?{}", query.collect::<Vec<_>>().join("&")),
                None,
            )
        };
        let (status, answer) = self.send(verb, &path, body).await;
        if status == 200 {
            return Ok(answer);
        }
        let text = |name: &str| answer["error"][name].as_str().unwrap().to_owned();
        Err((text("code"), text("message")))
    }

    async fn grpc(&self, method: &str, request: &Value) -> Answer {
        let channel = Endpoint::from_shared(self.address.clone()).unwrap();
        let mut client = Grpc::new(channel.connect().await.unwrap());
        client.ready().await.unwrap();
        let (input, output) = messages(method);
        let mut request = Request::new(encoded(input, request));
        if let Some(key) = &self.key {
            let bearer = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        let path = PathAndQuery::try_from(format!("/{}/{method}", service(method))).unwrap();
        match client.unary(request, path, RawCodec).await {
            Ok(answer) => Ok(decoded(output, answer.get_ref())),
            Err(status) => Err(failure(&status)),
        }
    }

    async fn web(&self, method: &str, request: &Value) -> Answer {
        let (input, output) = messages(method);
        let mut post = http()
            .post(format!("{}/{}/{method}", self.address, service(method)))
            .header("content-type", "application/grpc-web+proto")
            .body(frame(&encoded(input, request)));
        if let Some(key) = &self.key {
            post = post.bearer_auth(key);
        }
        let response = post.send().await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(failure(&status));
        }
        let body = response.bytes().await.unwrap();
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let (message, trailers) = body[5..].split_at(length);
        assert_eq!(trailers[0], 0x80, "the trailers");
        let trailers = parse_trailers(&trailers[5..]);
        assert_eq!(trailers["grpc-status"], "0");
        Ok(decoded(output, message))
    }
}

impl Admin {
    /// Connect with JSON.
    async fn connect(&self, method: &str, request: &Value) -> Answer {
        let path = format!("{}/{}/{method}", self.address, service(method));
        let mut post = with_json(http().post(path), request.to_string());
        if let Some(key) = &self.key {
            post = post.bearer_auth(key);
        }
        let (status, answer) = status_and_json(post.send().await.unwrap()).await;
        if status != 200 {
            return Err(failure(&connect::status(&answer)));
        }
        let (_, output) = messages(method);
        let message = encoded(output.clone(), &answer);
        Ok(decoded(output, &message))
    }
}

fn failure(status: &Status) -> (String, String) {
    let failure = grpc_failure(status);
    (failure.code, failure.message)
}

fn messages(method: &str) -> (MessageDescriptor, MessageDescriptor) {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let service = pool.get_service_by_name(service(method)).unwrap();
    let method = service.methods().find(|it| it.name() == method).unwrap();
    (method.input(), method.output())
}

fn encoded(kind: MessageDescriptor, json: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(kind, json)
        .unwrap()
        .encode_to_vec()
}

fn decoded(kind: MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(kind, bytes).unwrap();
    let options = SerializeOptions::new().skip_default_fields(false);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    json.unwrap()
}

/// Passes messages as bytes.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// The secret of a call of a model: the status that a call with it gets.
pub async fn infer(address: &str, key: Option<&str>) -> u16 {
    let mut get = http().get(format!("{address}/v1/models?page_size=1"));
    if let Some(key) = key {
        get = get.bearer_auth(key);
    }
    get.send().await.unwrap().status().as_u16()
}

/// A request with this id.
pub fn id(id: &Value) -> Value {
    json!({ "id": id })
}
