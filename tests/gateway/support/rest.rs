//! Requests to the REST door for tests that [`Door`](super::Door) does not cover.

use reqwest::{Body, IntoUrl, RequestBuilder, Response};
use serde_json::Value;

use super::clock::PATIENCE;

/// A plain HTTP/1.1 client. It trusts no certificates, because reading the machine's takes longer
/// than most tests.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// The request with this JSON as its body.
pub fn with_json(request: RequestBuilder, body: impl Into<Body>) -> RequestBuilder {
    let request = request.header("content-type", "application/json");
    request.body(body)
}

/// A POST request with this JSON as its body, not yet sent.
pub fn post(url: impl IntoUrl, body: impl Into<Body>) -> RequestBuilder {
    with_json(http().post(url), body)
}

/// The status of a response, and its body, which must be JSON.
pub async fn status_and_json(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The events of a stream that each carry JSON.
pub struct Events {
    response: Response,
    unread: Vec<u8>,
}

impl Events {
    /// Sends the request, which must be answered with a stream.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            unread: Vec::new(),
        }
    }

    /// The next event. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let end = self.unread.windows(2).position(|pair| pair == b"\n\n");
            if let Some(end) = end {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                let data = event.strip_prefix(b"data: ").unwrap();
                return Some(serde_json::from_slice(data).unwrap());
            }
            self.unread.extend(self.response.chunk().await.unwrap()?);
        }
    }

    /// Waits for an event like this.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Value) -> bool) {
        let wait = async { while !condition(&self.next().await.expect("the stream goes on")) {} };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
    }
}
