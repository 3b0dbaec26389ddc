//! The catalogue, by REST and by gRPC.

use featherwire::proto::v1::{
    GetModelRequest, ListModelsRequest, ModelFilter, model_service_client::ModelServiceClient,
};
use serde_json::Value;

use crate::support::{Emulator, Gateway, MODEL, door::grpc_failure, rest::http};

const KNOWN: [&str; 20] = [
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-70B-Instruct",
    "meta-llama/Meta-Llama-3.1-405B-Instruct",
    "meta-llama/Llama-2-7b-chat-hf",
    "meta-llama/Llama-2-13b-chat-hf",
    "meta-llama/Llama-2-70b-chat-hf",
    "mistralai/Mistral-7B-Instruct-v0.2",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "Qwen/Qwen2.5-72B-Instruct",
    "Qwen/Qwen2.5-Coder-32B-Instruct",
    "google/gemma-2-9b-it",
    "google/gemma-2-27b-it",
    "deepseek-ai/DeepSeek-V3-0324",
    "moonshotai/Kimi-K2-Instruct",
    "Qwen/Qwen2.5-VL-72B-Instruct",
    "google/gemma-3-27b-it",
    "Qwen/Qwen3-Embedding-8B",
    "Qwen/Qwen3-Embedding-0.6B",
    "BAAI/bge-m3",
];

#[tokio::test]
async fn the_catalogue_is_openais_list_with_all_members_of_the_upstream() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (status, list) = gateway.get_json("/v1/models").await;
    assert_eq!((status, &list["object"]), (200, &Value::from("list")));
    let upstream = http()
        .get(format!("http://{}/v1/models", emulator.address))
        .bearer_auth("any");
    let upstream: Value =
        serde_json::from_slice(&upstream.send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(list, upstream, "nothing is lost and nothing is added");
    for id in KNOWN {
        assert!(
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .any(|model| model["id"] == id),
            "{id}"
        );
        let (status, model) = gateway.get_json(&format!("/v1/models/{id}")).await;
        assert_eq!(
            (status, &model["id"], &model["object"]),
            (200, &Value::from(id), &Value::from("model"))
        );
    }
    let (_, found) = gateway.get_json("/v1/models?q=gemma").await;
    assert_eq!(
        found["data"].as_array().unwrap().len(),
        3,
        "the upstream's own parameters are passed on"
    );
}

#[tokio::test]
async fn a_model_is_found_by_its_exact_id_with_each_spelling_of_the_slash() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for path in [
        format!("/v1/models/{MODEL}"),
        format!("/v1/models/{}", MODEL.replace('/', "%2F")),
    ] {
        assert_eq!(gateway.get_json(&path).await.1["id"], MODEL);
    }
    for path in [
        "/v1/models/no/model",
        "/v1/models/model",
        "/v1/models/META-LLAMA/Meta-Llama-3.1-8B-Instruct",
    ] {
        let (status, error) = gateway.get_json(path).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &Value::from("model_not_found")),
            "{path}"
        );
    }
    for path in [
        "/v1/models/..%2Fplan",
        "/v1/models/a%2F..%2F..",
        "/v1/models//",
        "/v1/models/.%09./plan",
        "/v1/models/.%0A.%2F.%0A.%2Faccount%2Fconcurrency",
        "/v1/models/a%2F..%0d",
        "/v1/models/a/%FF",
    ] {
        let (status, _) = gateway.get_json(path).await;
        assert!(
            matches!(status, 400 | 404),
            "{path} must not reach another path upstream: {status}"
        );
    }
}

#[tokio::test]
async fn grpc_pages_and_filters_the_catalogue() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let mut request = ListModelsRequest {
        page_size: 5,
        ..ListModelsRequest::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = client
            .list_models(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.total_size(), 20);
        assert!(page.models.len() <= 5);
        ids.extend(page.models.into_iter().map(|model| model.id));
        let Some(token) = page.next_page_token else {
            break;
        };
        request.page_token = token;
    }
    let mut sorted = KNOWN;
    sorted.sort_unstable();
    assert_eq!(ids, sorted);

    let mut count = async |filter: ModelFilter| {
        let request = ListModelsRequest {
            filter: Some(filter),
            ..ListModelsRequest::default()
        };
        client
            .list_models(request)
            .await
            .unwrap()
            .into_inner()
            .total_size()
    };
    assert_eq!(
        count(ModelFilter {
            search: "LLAMA-2".to_owned(),
            ..ModelFilter::default()
        })
        .await,
        3
    );
    assert_eq!(
        count(ModelFilter {
            family: "mixtral".to_owned(),
            ..ModelFilter::default()
        })
        .await,
        2
    );
    let gated = count(ModelFilter {
        gated: Some(true),
        ..ModelFilter::default()
    })
    .await;
    let free = count(ModelFilter {
        gated: Some(false),
        ..ModelFilter::default()
    })
    .await;
    assert_eq!(gated + free, 20);

    let model = client
        .get_model(GetModelRequest {
            model: MODEL.to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (model.id.as_str(), model.concurrency_cost),
        (MODEL, Some(1))
    );
    let status = client
        .get_model(GetModelRequest {
            model: "no/model".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), grpc_failure(&status).code.as_str()),
        (tonic::Code::NotFound, "model_not_found")
    );
    for bad in [
        ListModelsRequest {
            page_token: "x".to_owned(),
            ..ListModelsRequest::default()
        },
        ListModelsRequest {
            page_size: -1,
            ..ListModelsRequest::default()
        },
    ] {
        assert_eq!(
            client.list_models(bad).await.unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
    assert_eq!(
        client
            .get_model(GetModelRequest::default())
            .await
            .unwrap_err()
            .code(),
        tonic::Code::InvalidArgument
    );
}

#[tokio::test]
async fn rest_pages_and_filters_the_catalogue_by_its_http_rule() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut ids = Vec::new();
    let mut path = "/v1/models?page_size=7".to_owned();
    loop {
        let (status, page) = gateway.get_json(&path).await;
        assert_eq!(
            (status, &page["object"], &page["total_size"]),
            (200, &Value::from("list"), &Value::from(20))
        );
        let models = page["data"].as_array().unwrap();
        assert!(models.len() <= 7, "{page}");
        ids.extend(
            models
                .iter()
                .map(|model| model["id"].as_str().unwrap().to_owned()),
        );
        match page.get("next_page_token") {
            Some(token) => {
                path = format!(
                    "/v1/models?page_size=7&page_token={}",
                    token.as_str().unwrap()
                )
            }
            None => break,
        }
    }
    let mut sorted = KNOWN;
    sorted.sort_unstable();
    assert_eq!(ids, sorted);

    let count = async |query: &str| {
        gateway.get_json(&format!("/v1/models?{query}")).await.1["total_size"].clone()
    };
    assert_eq!(count("filter.search=LLAMA-2").await, 3);
    assert_eq!(count("filter.family=mixtral&page_size=1").await, 2);
    assert_eq!(count("filter.search=nothing").await, 0);
    let (gated, free) = (
        count("filter.gated=true").await,
        count("filter.gated=false").await,
    );
    assert_eq!(gated.as_u64().unwrap() + free.as_u64().unwrap(), 20);

    let whole = gateway.get_json("/v1/models").await.1;
    assert!(
        whole.get("total_size").is_none() && whole.get("next_page_token").is_none(),
        "as OpenAI's"
    );
    for (query, param) in [
        ("page_size=-1", "page_size"),
        ("page_size=many", "page_size"),
        ("page_token=x", "page_token"),
        ("filter.gated=maybe", "filter.gated"),
        ("filter.colour=red", "filter"),
        ("filter=red", "filter"),
        ("page_size=1&page_size=2", "query"),
        ("page_size=1&q=gemma", "query"),
    ] {
        let (status, error) = gateway.get_json(&format!("/v1/models?{query}")).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &Value::from(param)),
            "{query}: {error}"
        );
    }
}
