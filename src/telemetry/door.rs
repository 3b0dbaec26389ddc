//! Which protocol a request speaks, as the log, the metrics and the traces name it.

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};

/// The names of all protocols.
pub(super) const DOORS: [&str; 4] = ["grpc", "grpc-web", "connect", "rest"];

/// The header by which generated clients of Connect tell its version.
const CONNECT: HeaderName = HeaderName::from_static("connect-protocol-version");

/// The protocol of a request.
pub(super) fn of<B>(request: &Request<B>) -> &'static str {
    const GRPC: &[u8] = b"application/grpc";
    let r#type = media_type(request.headers());
    match r#type.and_then(|r#type| r#type.strip_prefix(GRPC)) {
        Some(rest) if rest.starts_with(b"-web") => "grpc-web",
        Some(_) => "grpc",
        None if is_connect(request) => "connect",
        None => "rest",
    }
}

/// Whether a request that is not of gRPC is one of Connect: it is to a service of the contract or
/// of health and reflection, or says so itself. No path of REST looks like one of a service.
pub fn is_connect<B>(request: &Request<B>) -> bool {
    const OWN_TYPES: [&[u8]; 2] = [b"application/connect", b"application/proto"];
    let path = request.uri().path();
    let is_own = |r#type: &[u8]| OWN_TYPES.iter().any(|own| r#type.starts_with(own));
    path.starts_with("/featherwire.")
        || path.starts_with("/grpc.")
        || media_type(request.headers()).is_some_and(is_own)
        || request.headers().contains_key(CONNECT)
}

fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_and_the_path_name_the_door() {
        let door = |path: &str, name: &str, value: &str| {
            of(&Request::post(path).header(name, value).body(()).unwrap())
        };
        let rpc = "/featherwire.v1.ChatService/CreateChatCompletion";
        for (r#type, of_rpc, of_rest) in [
            ("application/grpc", "grpc", "grpc"),
            ("application/grpc-web+proto", "grpc-web", "grpc-web"),
            ("application/json", "connect", "rest"),
            ("application/proto", "connect", "connect"),
            ("application/connect+json", "connect", "connect"),
            ("text/plain", "connect", "rest"),
        ] {
            assert_eq!(door(rpc, "content-type", r#type), of_rpc, "{type}");
            assert_eq!(door("/v1/models", "content-type", r#type), of_rest);
        }
        assert_eq!(door("/x", "connect-protocol-version", "1"), "connect");
        assert!(DOORS.contains(&"connect"));
    }
}
