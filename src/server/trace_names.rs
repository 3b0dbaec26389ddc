//! What traces call the routes of this server, and its upstream.

use std::{borrow::Cow, sync::Arc};

use http::Method;

use crate::{
    config,
    error::Result,
    grpc::{descriptor_set, methods::Methods},
    rest::{ROUTES, TRANSCODED_ROUTES},
    telemetry::traces::Names,
};

/// The names for a gateway with this upstream.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if the contract cannot be read.
pub(super) fn of(upstream: &config::Upstream) -> Result<Names> {
    let url = &upstream.featherless_base_url;
    let methods = Methods::new(&descriptor_set::files()?);
    Ok(Names {
        route_of: Arc::new(move |method, path| route_of(&methods, method, path)),
        upstream_host: url.host_str().unwrap_or_default().into(),
        upstream_port: url.port_or_known_default().unwrap_or_default(),
    })
}

/// The route of a request. Paths of callers are not names, because there may be any number of them.
fn route_of(methods: &Methods, method: &Method, path: &str) -> Option<Cow<'static, str>> {
    if *method == Method::POST && methods.find(path).is_ok() {
        return Some(path.trim_start_matches('/').to_owned().into());
    }
    let routes = ROUTES.iter().chain(&TRANSCODED_ROUTES);
    let same = |known: &Method| known == method || (known == Method::GET && method == Method::HEAD);
    let mut met = routes.filter(|(known, template)| same(known) && is_met(template, path));
    met.next().map(|(_, template)| Cow::Borrowed(*template))
}

/// Whether `path` has the form of `template`, such as `/v1/models/{name}` or `/keys/{id}:rotate`.
fn is_met(template: &str, path: &str) -> bool {
    let (mut templates, mut segments) = (template.split('/'), path.split('/'));
    loop {
        let is_segment_met = match (templates.next(), segments.next()) {
            (None, None) => return true,
            (Some(template), Some(segment)) => match template.split_once('}') {
                // A variable has no part after a colon.
                Some((_, "")) => !segment.is_empty() && !segment.contains(':'),
                Some((_, verb)) => segment.len() > verb.len() && segment.ends_with(verb),
                None => template == segment,
            },
            _ => false,
        };
        if !is_segment_met {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_found_and_no_path_of_a_caller_is_a_name() {
        let methods = Methods::new(&descriptor_set::files().unwrap());
        let route_of = |method: &Method, path: &str| route_of(&methods, method, path);
        for (method, template) in ROUTES.iter().chain(&TRANSCODED_ROUTES) {
            let path = template.replace("{id}", "0192").replace("{name}", "x");
            let path = path.replace("{org}", "y");
            assert_eq!(
                route_of(method, &path).as_deref(),
                Some(*template),
                "{path}"
            );
        }
        let rpc = "featherwire.v1.ChatService/StreamChatCompletion";
        let path = format!("/{rpc}");
        assert_eq!(route_of(&Method::POST, &path).as_deref(), Some(rpc));
        for path in [
            "/",
            "/v1/chat/completions/",
            "/v1/models/",
            "/v1/models/a/b/c",
            "/admin/v1/keys/:rotate",
            "/featherwire.v1.ChatService/Oops",
            "/wp-login.php",
        ] {
            assert_eq!(route_of(&Method::POST, path), None, "{path}");
            assert_eq!(route_of(&Method::GET, path), None, "{path}");
        }
    }
}
