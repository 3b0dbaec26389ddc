//! gRPC calls with bytes from the test, in each form: over HTTP/2, and as gRPC-Web over HTTP/1.1,
//! binary and as text.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use super::{
    clock::PATIENCE,
    door::{grpc_failure, parse_trailers},
    gateway::Gateway,
    rest::http,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Grpc,
    Web,
    WebText,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Web, Self::WebText];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text",
        }
    }
}

/// An answer, with its trailers and the frames of its body.
#[derive(Debug)]
pub struct Answer {
    pub http_status: u16,
    pub head: HeaderMap,
    /// Each with its flag.
    pub messages: Vec<(u8, Vec<u8>)>,
    pub status: Status,
    pub body: Vec<u8>,
    /// Over HTTP/2: whether the head was the end of the answer.
    pub is_only_head: bool,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status.code(), Code::Ok, "{self:?}");
        self
    }

    /// The error, which must have this status and reason.
    #[track_caller]
    pub fn failed(&self, code: Code, reason: &str) -> String {
        assert_eq!(self.status.code(), code, "{self:?}");
        assert_eq!(grpc_failure(&self.status).code, reason, "{self:?}");
        assert!(self.messages.is_empty());
        self.status.message().to_owned()
    }
}

/// Calls a method with this body. For the text form, the body is base64 already.
pub async fn send(
    gateway: &Gateway,
    path: &str,
    is_http2: bool,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    request(gateway, "POST", path, is_http2, headers, body).await
}

/// Sends a request of any HTTP method.
pub async fn request(
    gateway: &Gateway,
    method: &str,
    path: &str,
    is_http2: bool,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let body = body.into();
    let call = async {
        let (head, body, trailers) = if is_http2 {
            let mut request = Request::builder().method(method).uri(gateway.url(path));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let stream = TokioIo::new(TcpStream::connect(gateway.address).await.unwrap());
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .unwrap();
            let connection = tokio::spawn(connection);
            let answer = sender
                .send_request(request.body(Full::new(body)).unwrap())
                .await
                .unwrap();
            let (head, body) = answer.into_parts();
            let is_only_head = hyper::body::Body::is_end_stream(&body);
            let body = body.collect().await.unwrap();
            connection.abort();
            let trailers = body.trailers().cloned();
            let head = (head.status, head.headers, is_only_head);
            (head, body.to_bytes(), trailers)
        } else {
            let mut post = http().request(method, gateway.url(path)).body(body);
            for (name, value) in headers {
                post = post.header(*name, *value);
            }
            let answer = post.send().await.unwrap();
            let head = (answer.status(), answer.headers().clone(), false);
            (head, answer.bytes().await.unwrap(), None)
        };
        let answer = read(head.0.as_u16(), head.1, body.to_vec(), trailers);
        Answer {
            is_only_head: head.2,
            ..answer
        }
    };
    tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| panic!("no end to {path} with {headers:?}"))
}

/// Calls a method in this form, with these frames.
pub async fn call(
    gateway: &Gateway,
    form: Form,
    path: &str,
    headers: &[(&str, &str)],
    frames: &[u8],
) -> Answer {
    let body = if form == Form::WebText {
        base64(frames).into_bytes()
    } else {
        frames.to_vec()
    };
    let headers = [&[("content-type", form.media_type())], headers].concat();
    send(gateway, path, form == Form::Grpc, &headers, body).await
}

fn read(http_status: u16, head: HeaderMap, body: Vec<u8>, trailers: Option<HeaderMap>) -> Answer {
    let mut trailers = trailers.unwrap_or_else(|| head.clone());
    let mut messages = Vec::new();
    let is_frames = head.get("content-type").is_some_and(|media_type| {
        let media_type = media_type.to_str().unwrap();
        media_type.starts_with("application/grpc") && !media_type.contains("text")
    });
    let mut rest = if is_frames { &body[..] } else { &[] };
    while let [flag, a, b, c, d, ..] = *rest {
        let (frame, after) = rest[5..].split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        rest = after;
        if flag == 0x80 {
            trailers = parse_trailers(frame);
        } else {
            messages.push((flag, frame.to_vec()));
        }
    }
    let status =
        Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown("there is no status"));
    Answer {
        http_status,
        head,
        messages,
        status,
        body,
        is_only_head: false,
    }
}

/// A frame with this flag.
pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

pub fn base64(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quartet = |piece: &[u8]| {
        let number = (0..3).fold(0, |number, place| {
            number << 8 | usize::from(*piece.get(place).unwrap_or(&0))
        });
        let letter = |place: usize| match place {
            place if place > piece.len() => '=',
            place => char::from(LETTERS[number >> (18 - 6 * place) & 63]),
        };
        (0..4).map(letter).collect::<String>()
    };
    data.chunks(3).map(quartet).collect()
}
