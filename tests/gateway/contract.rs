//! The contract as tools see it: reflection, and the REST route of each RPC.

use std::collections::BTreeSet;

use featherwire::{proto::DESCRIPTOR_SET, rest};
use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::support::{Emulator, Gateway, MODEL, rest::http};

const SERVICES: [&str; 11] = [
    "featherwire.admin.v1.KeyService",
    "featherwire.admin.v1.UsageService",
    "featherwire.v1.AccountService",
    "featherwire.v1.CallerService",
    "featherwire.v1.ChatService",
    "featherwire.v1.CompletionService",
    "featherwire.v1.EmbeddingService",
    "featherwire.v1.ModelService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

macro_rules! reflection_lists {
    ($version:ident, $gateway:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = |request| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let requests = tokio_stream::iter([
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(
                "featherwire.v1.ChatService".to_owned(),
            )),
        ]);
        let mut answers = ServerReflectionClient::new($gateway.channel().await)
            .server_reflection_info(requests)
            .await
            .unwrap()
            .into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            answers.next().await.unwrap().unwrap().message_response
        else {
            panic!("not a list")
        };
        let names: BTreeSet<String> = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        let Some(MessageResponse::FileDescriptorResponse(file)) =
            answers.next().await.unwrap().unwrap().message_response
        else {
            panic!("not a file")
        };
        assert!(!file.file_descriptor_proto.is_empty());
        names
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let versions = [
        (reflection_lists!(v1, gateway), SERVICES[9]),
        (reflection_lists!(v1alpha, gateway), SERVICES[10]),
    ];
    for (names, own) in versions {
        for service in &SERVICES[..9] {
            assert!(names.contains(*service), "{service} in {names:?}");
        }
        assert!(names.contains(own), "{names:?}");
    }
}

/// `/v1/models/{model=*/*}` of the contract is `/v1/models/{org}/{name}` of the router.
fn shape(path: &str) -> String {
    let path = path.replace("{model=*/*}", "{}/{}");
    let mut shape = String::new();
    let mut inside = false;
    for letter in path.chars() {
        inside = (inside || letter == '{') && letter != '}';
        if !inside || letter == '{' {
            shape.push(letter);
        }
    }
    shape
}

#[test]
fn every_rpc_has_a_rest_route_and_every_rest_route_has_an_rpc() {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let declared: Vec<(String, String)> = pool
        .services()
        .filter(|service| service.full_name().starts_with("featherwire."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| {
            let options: DynamicMessage = method.options();
            let Value::Message(rule) = options.get_extension(&http).into_owned() else {
                panic!("{}", method.full_name())
            };
            ["get", "post", "patch", "delete"]
                .iter()
                .find(|verb| rule.has_field_by_name(verb))
                .map(|verb| {
                    let path = rule
                        .get_field_by_name(verb)
                        .unwrap()
                        .as_str()
                        .unwrap()
                        .to_owned();
                    (verb.to_uppercase(), shape(&path))
                })
                .unwrap_or_else(|| panic!("{} has no REST route", method.full_name()))
        })
        .collect();
    let count = declared.len();
    let declared: BTreeSet<_> = declared.into_iter().collect();
    assert_eq!(declared.len(), count, "two RPCs have the same route");
    // OpenAI's SDKs write the slash of a model's id as %2F: a second form of the same path.
    let spelling = ("GET".to_owned(), "/v1/models/{}".to_owned());
    let routed: BTreeSet<_> = rest::ROUTES
        .iter()
        .chain(&rest::TRANSCODED_ROUTES)
        .map(|(method, path)| (method.to_string(), shape(path)))
        .collect();
    assert_eq!(
        declared
            .into_iter()
            .chain([spelling])
            .collect::<BTreeSet<_>>(),
        routed
    );
}

#[tokio::test]
async fn the_router_answers_every_route_it_lists() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (org, name) = MODEL.split_once('/').unwrap();
    let single = format!("v1/models/{org}%2F{name}");
    for (method, path) in rest::ROUTES {
        let url = path
            .replace("v1/models/{name}", &single)
            .replace("{org}", org)
            .replace("{name}", name);
        // Only a route's own handler answers like this: a GET succeeds, and a POST is missing the
        // member that all handlers require.
        if method == Method::GET {
            let response = http().get(gateway.url(&url)).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
        } else {
            let (status, answer) = gateway.post_json(&url, "{}").await;
            assert_eq!(
                (status, &answer["error"]["param"]),
                (400, &json!("model")),
                "{method} {path}: {answer}"
            );
        }
    }
}
