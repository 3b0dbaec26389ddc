//! `/metrics`: what is counted, who may read it, and that callers cannot make it grow.

use std::{collections::BTreeMap, time::Duration};

use featherwire::{
    error::ErrorCode,
    keys::Directory,
    telemetry::metrics::table::{self, Type},
};
use http::Method;
use proptest::test_runner::TestRunner;
use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Value, json};

use crate::{
    keys::{serve, text},
    support::{
        Database, Door, Emulator, Gateway, MODEL, Reply, Scripted,
        models::{FIRST, SECOND},
        poll,
        program::{Log, serve_with_log},
        prompt,
        rest::{http, post},
        scripted::{answer_for, chunk, no_capacity},
    },
};

/// The samples of a scrape: by name and labels.
pub struct Scrape(BTreeMap<(String, Vec<(String, String)>), f64>);

impl Scrape {
    async fn of(url: &str) -> Self {
        let response = http().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self::parse(&response.text().await.unwrap())
    }

    /// Parses the text format of Prometheus. Labels of these tests have no escapes.
    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let labels = labels.split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            ((name.to_owned(), labels.collect()), value.parse().unwrap())
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// The sum of the samples with this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |own: &[(String, String)], (name, value): &(&str, &str)| {
            own.iter().any(|(n, v)| n == name && v == value)
        };
        self.0
            .iter()
            .filter(|((own, _), _)| own == name)
            .filter(|((_, own), _)| labels.iter().all(|label| has(own, label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// Every series without the values.
    fn series(&self) -> Vec<&(String, Vec<(String, String)>)> {
        self.0.keys().collect()
    }
}

impl Gateway {
    pub async fn scrape(&self) -> Scrape {
        Scrape::of(&self.url("/metrics")).await
    }

    /// Waits until this many calls have ended.
    async fn scrape_after(&self, calls: f64) -> Scrape {
        poll::find("the calls are counted", async || {
            let scrape = self.scrape().await;
            (scrape.sum("featherwire_calls_total", &[]) >= calls).then_some(scrape)
        })
        .await
    }
}

fn streamed(door: Door, mut request: Value) -> Value {
    if door == Door::RestStream {
        request["stream"] = true.into();
    }
    request
}

fn labels_of(door: Door) -> [(&'static str, &'static str); 2] {
    let (door, rpc) = match door {
        Door::RestUnary => ("rest", "CreateChatCompletion"),
        Door::RestStream => ("rest", "StreamChatCompletion"),
        Door::GrpcUnary => ("grpc", "CreateChatCompletion"),
        Door::GrpcStream => ("grpc", "StreamChatCompletion"),
        Door::WebUnary => ("grpc-web", "CreateChatCompletion"),
        Door::WebStream => ("grpc-web", "StreamChatCompletion"),
        Door::ConnectUnary => ("connect", "CreateChatCompletion"),
        Door::ConnectStream => ("connect", "StreamChatCompletion"),
    };
    [("door", door), ("rpc", rpc)]
}

#[tokio::test]
async fn a_call_through_each_door_is_counted_once_with_its_times_and_tokens() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    // Loads the catalogue, without which no model is known before it answers.
    http().get(gateway.url("/v1/models")).send().await.unwrap();
    for door in Door::ALL {
        let mut request = streamed(door, prompt(MODEL, "hi"));
        request["max_tokens"] = 7.into();
        gateway.ask(door, &request).await;
    }
    let scrape = gateway.scrape_after(9.0).await;
    for door in Door::ALL {
        let [door_label, rpc] = labels_of(door);
        let finished = [
            door_label,
            rpc,
            ("model", MODEL),
            ("end", "finished"),
            ("code", ""),
        ];
        let calls = scrape.sum("featherwire_calls_total", &finished);
        assert_eq!(calls, 1.0, "{door:?}");
        let durations = scrape.sum("featherwire_call_duration_seconds_count", &finished[..4]);
        assert_eq!(durations, 1.0, "{door:?}");
    }
    let of_model = [("model", MODEL)];
    let of_stream = [("model", MODEL), ("rpc", "StreamChatCompletion")];
    let count = |name: &str| scrape.sum(name, &of_model);
    assert_eq!(count("featherwire_time_to_first_token_seconds_count"), 4.0);
    let of_streams = scrape.sum("featherwire_time_to_first_token_seconds_count", &of_stream);
    assert_eq!(of_streams, 4.0);
    assert_eq!(
        count("featherwire_time_per_output_token_seconds_count"),
        4.0
    );
    assert_eq!(count("featherwire_wait_for_units_seconds_count"), 8.0);
    let completion = [("model", MODEL), ("kind", "completion")];
    assert_eq!(scrape.sum("featherwire_tokens_total", &completion), 56.0);
    assert_eq!(scrape.sum("featherwire_request_bytes_count", &[]), 8.0);
    let listing = [("rpc", "ListModels"), ("model", "none")];
    assert_eq!(scrape.sum("featherwire_calls_total", &listing), 1.0);
    // The names of OpenTelemetry are views of the same numbers.
    let gen_ai = [
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "featherless"),
        ("gen_ai_request_model", MODEL),
        ("gen_ai_response_model", MODEL),
    ];
    let of_gen_ai = |name: &str| scrape.sum(name, &gen_ai);
    assert_eq!(
        of_gen_ai("gen_ai_client_operation_duration_seconds_count"),
        8.0
    );
    assert_eq!(
        of_gen_ai("gen_ai_server_request_duration_seconds_count"),
        8.0
    );
    let output = [gen_ai[0], ("gen_ai_token_type", "output")];
    assert_eq!(scrape.sum("gen_ai_client_token_usage_sum", &output), 56.0);
    // Nothing is left.
    for gauge in [
        "featherwire_streams",
        "featherwire_active_calls",
        "featherwire_inflight_request_bytes",
        "featherwire_units_in_use",
    ] {
        assert_eq!(scrape.sum(gauge, &[]), 0.0, "{gauge}");
    }
    assert_eq!(scrape.sum("featherwire_ready", &[]), 1.0);
    assert_eq!(scrape.sum("featherwire_catalogue_models", &[]), 20.0);
    assert!(scrape.sum("featherwire_accepted_connections_total", &[]) >= 1.0);
}

#[tokio::test]
async fn calls_that_fail_and_callers_who_leave_are_counted_by_their_end() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 3;
    })
    .await;
    let mut stream = gateway.open_stream(MODEL).await;
    stream.chunk().await.unwrap().unwrap();
    let during = gateway.scrape().await;
    assert_eq!(during.sum("featherwire_streams", &[]), 1.0);
    assert_eq!(during.sum("featherwire_active_calls", &[]), 1.0);
    assert_eq!(during.sum("featherwire_calls_total", &[]), 0.0);
    drop(stream);
    let left = gateway.scrape_after(1.0).await;
    let cancelled = [("end", "cancelled"), ("model", MODEL), ("code", "")];
    assert_eq!(left.sum("featherwire_calls_total", &cancelled), 1.0);
    assert_eq!(left.sum("featherwire_streams", &[]), 0.0);
    upstream.set_reply(no_capacity());
    for _ in 0..4 {
        gateway.ask(Door::RestUnary, &prompt(MODEL, "hi")).await;
    }
    let failed = gateway.scrape_after(5.0).await;
    let of_code = |code| {
        let labels = [("end", "failed"), ("code", code)];
        failed.sum("featherwire_calls_total", &labels)
    };
    assert_eq!(
        (of_code("no_capacity"), of_code("circuit_open")),
        (3.0, 1.0)
    );
    let errors = |error| {
        let name = "gen_ai_client_operation_duration_seconds_count";
        failed.sum(name, &[("error_type", error)])
    };
    assert_eq!(errors("no_capacity"), 3.0);
    assert_eq!(errors("cancelled"), 1.0);
    let open = failed.sum("featherwire_circuits", &[("state", "open")]);
    assert_eq!(open, 1.0);
}

#[tokio::test]
async fn retries_and_fallbacks_are_counted() {
    let upstream = Scripted::always(answer_for(Door::RestUnary)).await;
    upstream.set_reply_for_model(Some((FIRST, no_capacity())));
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.retries = 2;
        config.upstream.retry_wait = Duration::from_millis(1);
    })
    .await;
    let mut request = prompt(FIRST, "hi");
    request["featherwire"] = json!({"fallbacks": [SECOND]});
    gateway.ask(Door::RestUnary, &request).await;
    let scrape = gateway.scrape_after(1.0).await;
    let of_second = |name| scrape.sum(name, &[("model", SECOND)]);
    assert_eq!(of_second("featherwire_calls_total"), 1.0);
    assert_eq!(of_second("featherwire_fallbacks_total"), 1.0);
    assert_eq!(of_second("featherwire_retries_total"), 2.0);
}

#[tokio::test]
async fn no_text_of_a_caller_becomes_a_label() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    http().get(gateway.url("/v1/models")).send().await.unwrap();
    let send = async |model: &str, path: &str, id: &str, method: Method| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let chat = post(gateway.url("/v1/chat/completions"), body.to_string());
        chat.header("x-request-id", id).send().await.unwrap();
        let grpc = prompt(model, "hi");
        gateway.ask(Door::GrpcStream, &grpc).await;
        let url = gateway.url(&format!("/v1/{path}"));
        http().request(method, url).send().await.unwrap();
        let call = http().post(gateway.url(&format!("/featherwire.v1.ChatService/{path}")));
        let call = call.header("content-type", "application/grpc+proto");
        call.send().await.unwrap();
    };
    send("no/such", "nothing", "one", Method::GET).await;
    send("", "nothing", "one", Method::POST).await;
    let before = gateway.scrape_after(9.0).await;
    let mut runner = TestRunner::deterministic();
    let texts = ("[a-zA-Z0-9/._-]{1,60}", "[a-z0-9]{1,40}", "[!-~]{1,140}");
    let mut sent = 9.0;
    for number in 0..60 {
        let (model, path, id) = texts.new_tree(&mut runner).unwrap().current();
        let method = [Method::GET, Method::POST, Method::DELETE][number % 3].clone();
        send(&model, &path, &id, method).await;
        sent += 4.0;
    }
    let after = gateway.scrape_after(sent).await;
    let own = |scrape: &Scrape| {
        let series = scrape.series().into_iter();
        series.cloned().collect::<Vec<_>>()
    };
    assert_eq!(own(&after), own(&before));
}

#[tokio::test]
async fn every_sample_is_of_the_table_and_both_formats_tell_the_same() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    gateway
        .ask(
            Door::RestStream,
            &streamed(Door::RestStream, prompt(MODEL, "hi")),
        )
        .await;
    gateway.scrape_after(1.0).await;
    let text_as = async |accept: &str| {
        let get = http().get(gateway.url("/metrics")).header("accept", accept);
        let response = get.send().await.unwrap();
        let r#type = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (r#type, response.text().await.unwrap())
    };
    let (r#type, text) = text_as("text/plain;version=0.0.4;q=0.5,*/*;q=0.1").await;
    assert_eq!(r#type, "text/plain; version=0.0.4; charset=utf-8");
    let (r#type, open) = text_as("application/openmetrics-text;version=1.0.0,*/*;q=0.1").await;
    assert_eq!(
        r#type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
    for scrape in [Scrape::parse(&text), Scrape::parse(&open)] {
        for (name, labels) in scrape.series() {
            let metric = table::ALL.iter().find(|metric| match metric.r#type {
                Type::Counter | Type::Gauge => metric.name == name,
                Type::Histogram => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
            });
            let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
            let names = labels.iter().map(|(name, _)| name.as_str());
            let names: Vec<_> = names.filter(|name| *name != "le").collect();
            // A gateway with one account has no name for it.
            let labels_of_table = metric.labels.iter().filter(|name| **name != "account");
            let labels_of_table: Vec<_> = labels_of_table.copied().collect();
            assert_eq!(names, labels_of_table, "{name}");
            let le = labels.iter().find(|(name, _)| name == "le");
            let is_bound = |le: &str| le == "+Inf" || le.parse::<f64>().unwrap() < 1e9;
            assert!(le.is_none_or(|(_, le)| is_bound(le)), "{labels:?}");
        }
    }
    let post = http().post(gateway.url("/metrics")).send().await.unwrap();
    assert_eq!(post.status(), 405);
    let head = http().head(gateway.url("/metrics")).send().await.unwrap();
    assert_eq!(
        (head.status(), head.text().await.unwrap()),
        (200.try_into().unwrap(), String::new())
    );
    // That was refused, and counts. Other probes do not.
    for path in ["/healthz", "/readyz"] {
        http().get(gateway.url(path)).send().await.unwrap();
    }
    assert_eq!(
        gateway.scrape().await.sum("featherwire_calls_total", &[]),
        2.0
    );
}

#[tokio::test]
async fn a_key_is_a_label_only_if_the_operator_asks_for_it() {
    let emulator = Emulator::start().await;
    let keys = || Directory::new(&[], &[]);
    for is_asked in [false, true] {
        let gateway =
            Gateway::with_parts(emulator.address, (keys(), Default::default()), |config| {
                config.metrics_key_label = is_asked
            })
            .await;
        let mut request = prompt(MODEL, "hi");
        request["max_tokens"] = 5.into();
        gateway.ask(Door::RestUnary, &request).await;
        let scrape = gateway.scrape_after(1.0).await;
        let has_key = |(name, value): &(String, String)| name == "key" || value == "everyone";
        let with_key = scrape.series().into_iter();
        let with_key = with_key.filter(|(_, labels)| labels.iter().any(has_key));
        assert_eq!(with_key.count() > 0, is_asked);
        let labels = [("key", "everyone"), ("kind", "completion")];
        let tokens = scrape.sum("featherwire_key_tokens_total", &labels);
        assert_eq!(tokens, if is_asked { 5.0 } else { 0.0 });
    }
}

async fn status(url: &str, key: Option<&str>) -> u16 {
    let get = http().get(url);
    let get = match key {
        Some(key) => get.bearer_auth(key),
        None => get,
    };
    get.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_metrics_need_a_key_that_manages_unless_they_have_a_listener_of_their_own() {
    let (_child, address, _log) = serve_with_log(&["--emulator"]).await;
    let url = format!("{address}/metrics");
    assert_eq!(status(&url, None).await, 200, "the gateway is open");
    let database = Database::sqlite();
    let create = async |arguments: &[&str]| {
        let arguments = [&["create", "--name", "some"], arguments].concat();
        text(&database.keys_json(&arguments).await, "secret").to_owned()
    };
    let viewer = create(&["--admin", "viewer"]).await;
    let caller = create(&[]).await;
    let (_child, address) = serve(&database, &[]).await;
    let url = format!("{address}/metrics");
    assert_eq!(status(&url, None).await, 401);
    assert_eq!(status(&url, Some(&caller)).await, 403);
    assert_eq!(status(&url, Some(&viewer)).await, 200);

    let (_child, address, mut log) = serve_with_log(&[
        "--emulator",
        "--api-keys",
        "gw_live_secret",
        "--admin-listen",
        "127.0.0.1:0",
    ])
    .await;
    let own = own_address(&mut log).await;
    assert_eq!(status(&format!("{own}/metrics"), None).await, 200);
    assert_eq!(status(&format!("{own}/healthz"), None).await, 200);
    let url = format!("{address}/metrics");
    for key in [None, Some("gw_live_secret")] {
        assert_eq!(status(&url, key).await, 404);
    }
    let scrape = Scrape::of(&format!("{own}/metrics")).await;
    let open = |listener| scrape.sum("featherwire_connections", &[("listener", listener)]);
    assert!(open("admin") >= 1.0 && open("main") >= 0.0);
}

async fn own_address(log: &mut Log) -> String {
    loop {
        let line = log.recv().await.unwrap();
        if let Some((_, url)) = line.split_once("administration: ") {
            return url.to_owned();
        }
    }
}

#[tokio::test]
async fn a_call_that_is_refused_at_once_names_no_model_and_one_that_waits_counts_its_wait() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.units.units = Some(1);
    })
    .await;
    let mut wrong = prompt(MODEL, "hi");
    wrong["temperature"] = 99.into();
    gateway.ask(Door::RestUnary, &wrong).await;
    let scrape = gateway.scrape_after(1.0).await;
    let refused = [("code", "invalid_value"), ("model", "none")];
    assert_eq!(scrape.sum("featherwire_calls_total", &refused), 1.0);
    let code = [("code", "invalid_value")];
    assert_eq!(scrape.sum("featherwire_failed_calls_total", &code), 1.0);
    let codes = scrape.series().into_iter();
    let codes = codes.filter(|(name, _)| name == "featherwire_failed_calls_total");
    assert_eq!(
        codes.count(),
        ErrorCode::ALL.len() + 1,
        "all codes from the start"
    );
    let waits = scrape.sum("featherwire_wait_for_units_seconds_count", &[]);
    assert_eq!(waits, 0.0, "it did not come to the queue");
    // The only unit is taken. The next call waits until its own deadline.
    let mut holder = gateway.open_stream(MODEL).await;
    holder.chunk().await.unwrap().unwrap();
    let late = post(
        gateway.url("/v1/chat/completions"),
        prompt(MODEL, "hi").to_string(),
    );
    let late = late.header("x-request-timeout-ms", "300");
    assert_eq!(late.send().await.unwrap().status(), 504);
    let scrape = gateway.scrape_after(2.0).await;
    // The upstream of this story tells no catalogue, so the model is not known.
    let of_model = [("model", "other")];
    assert_eq!(
        scrape.sum("featherwire_wait_for_units_seconds_count", &of_model),
        1.0
    );
    let waited = scrape.sum("featherwire_wait_for_units_seconds_sum", &of_model);
    assert!(waited >= 0.29, "{waited}");
}
