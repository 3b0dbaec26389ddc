//! Streams that tell their callers how they wait for units: the option `queue`. The clock is tokio's
//! paused clock, which advances when every task waits.

use std::time::Duration;

use featherwire::{
    error::Kind,
    json,
    proto::v1::{
        CompletionChoice, CreateCompletionRequest, GatewayOptions, QueuePosition,
        StreamChatCompletionResponse, completion_service_client::CompletionServiceClient,
        create_completion_request::PromptKind,
    },
};
use http::HeaderMap;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Streaming;

use crate::{
    options::with,
    support::{
        Door, Gateway, MODEL, PATIENCE, Reply, Scripted,
        connect::from_json,
        door::{frame, message, parse_trailers},
        prompt,
        scripted::{chunk, finish, whole},
    },
    units::taken,
};

/// The headers of an answer that are not known while it waits.
const LATE: [&str; 2] = ["x-featherless-request-id", "x-featherwire-waited-ms"];

/// The shortest time between two messages about the queue.
const INTERVAL: Duration = Duration::from_secs(1);

fn events() -> Reply {
    Reply::Events(vec![chunk("a"), chunk("b"), finish(), "[DONE]".to_owned()])
}

/// What comes of a stream.
#[derive(Debug)]
enum Item {
    Message(Box<StreamChatCompletionResponse>),
    /// The metadata after the last message, or the comments of REST in place of headers.
    Late(HeaderMap),
    End,
}

/// A stream that is read as it comes.
struct Listener {
    door: Door,
    head: HeaderMap,
    source: Source,
}

enum Source {
    Grpc(Box<Streaming<StreamChatCompletionResponse>>),
    Http(reqwest::Response, Vec<u8>),
    Ended,
}

impl Listener {
    async fn begin(gateway: &Gateway, door: Door) -> Self {
        Self::with(gateway, door, &json!({"queue": true})).await
    }

    async fn with(gateway: &Gateway, door: Door, options: &Value) -> Self {
        let mut request = with(MODEL, options);
        let post = match door {
            Door::GrpcStream => {
                let mut client = gateway.grpc().await;
                let stream = client.stream_chat_completion(message(&request)).await;
                let (metadata, stream, _) = stream.unwrap().into_parts();
                return Self {
                    door,
                    head: metadata.into_headers(),
                    source: Source::Grpc(Box::new(stream)),
                };
            }
            Door::WebStream => gateway
                .http()
                .post(gateway.url("/featherwire.v1.ChatService/StreamChatCompletion"))
                .header("content-type", "application/grpc-web+proto")
                .body(frame(&message(&request).encode_to_vec())),
            Door::ConnectStream => gateway.connect_request(door, &request),
            Door::RestStream => {
                request["stream"] = json!(true);
                gateway.post_request("/v1/chat/completions", request)
            }
            _ => panic!("{door:?} has no stream"),
        };
        let response = post.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            door,
            head: response.headers().clone(),
            source: Source::Http(response, Vec::new()),
        }
    }

    async fn next(&mut self) -> Item {
        let next = tokio::time::timeout(PATIENCE, self.read()).await;
        next.unwrap_or_else(|_| panic!("{:?}: the stream is silent", self.door))
    }

    async fn read(&mut self) -> Item {
        let (response, unread) = match &mut self.source {
            Source::Grpc(stream) => {
                if let Some(message) = stream.message().await.unwrap() {
                    return Item::Message(message.into());
                }
                let trailers = stream.trailers().await.unwrap().unwrap_or_default();
                self.source = Source::Ended;
                return Item::Late(trailers.into_headers());
            }
            Source::Ended => return Item::End,
            Source::Http(response, unread) => (response, unread),
        };
        loop {
            let item = match self.door {
                Door::RestStream => next_event(unread),
                door => next_frame(door, unread),
            };
            if let Some(item) = item {
                return item;
            }
            match response.chunk().await.unwrap() {
                Some(bytes) => unread.extend(bytes),
                None => {
                    assert!(unread.is_empty(), "{:?}: {unread:?}", self.door);
                    return Item::End;
                }
            }
        }
    }

    /// The next message, which must tell how the call waits.
    #[track_caller]
    fn waits(&mut self) -> impl Future<Output = QueuePosition> {
        let place = std::panic::Location::caller();
        async move {
            let Item::Message(message) = self.next().await else {
                panic!("{place}: {:?}: not a message", self.door);
            };
            let report = *message
                .featherwire
                .unwrap_or_else(|| panic!("{place}: no report"));
            let queue = *report
                .queue
                .unwrap_or_else(|| panic!("{place}: no position"));
            assert!(
                message.choices.is_empty() && message.usage.is_none() && message.created > 0,
                "{place}"
            );
            assert_eq!(
                (message.model.as_str(), report.model_asked.as_str()),
                (MODEL, MODEL),
                "{place}"
            );
            assert_eq!(report.waited_ms, queue.waited_ms, "{place}");
            queue
        }
    }

    /// The texts of an answer that has started, and the headers that came late.
    async fn answer(mut self) -> (String, HeaderMap) {
        let (mut text, mut late) = (String::new(), HeaderMap::new());
        loop {
            match self.next().await {
                Item::Message(message) => {
                    let queue = message.featherwire.and_then(|report| report.queue);
                    assert_eq!(queue, None, "{:?}: after the wait", self.door);
                    for choice in message.choices {
                        text.push_str(
                            &choice.delta.unwrap_or_default().content.unwrap_or_default(),
                        );
                    }
                }
                Item::Late(headers) => {
                    assert_eq!(
                        text.is_empty(),
                        self.door == Door::RestStream,
                        "{:?}: before the answer by REST, and after it otherwise",
                        self.door
                    );
                    late.extend(headers);
                }
                Item::End => return (text, late),
            }
        }
    }
}

/// Removes an event, or a group of comments.
fn next_event(unread: &mut Vec<u8>) -> Option<Item> {
    loop {
        let end = unread.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = unread.drain(..end + 2).collect();
        let event = std::str::from_utf8(&event).unwrap().trim_end();
        return Some(match event.strip_prefix("data: ") {
            Some("[DONE]") => Item::End,
            Some(data) => Item::Message(json::decode_answer(data.as_bytes()).unwrap()),
            // A call that waits for long.
            None if event.starts_with(": waiting") => continue,
            None => {
                let lines = event.lines().map(|line| line.strip_prefix(": ").unwrap());
                Item::Late(parse_trailers(
                    lines.collect::<Vec<_>>().join("\n").as_bytes(),
                ))
            }
        });
    }
}

/// Removes a message, or the end of the stream.
fn next_frame(door: Door, unread: &mut Vec<u8>) -> Option<Item> {
    let [flag, a, b, c, d] = *unread.first_chunk()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let message = unread.get(5..5 + length)?.to_vec();
    unread.drain(..5 + length);
    Some(match (flag, door) {
        (0, Door::ConnectStream) => {
            let message: StreamChatCompletionResponse =
                from_json("StreamChatCompletionResponse", &message);
            Item::Message(message.into())
        }
        (0, _) => {
            let message = StreamChatCompletionResponse::decode(&*message).unwrap();
            Item::Message(message.into())
        }
        (0x80, _) => Item::Late(parse_trailers(&message)),
        (2, _) => {
            let end: Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(end.get("error"), None, "{end}");
            let metadata = end["metadata"].as_object().cloned().unwrap_or_default();
            let headers = metadata.into_iter().map(|(name, values)| {
                let value = values[0].as_str().unwrap();
                (name.parse().unwrap(), value.parse().unwrap())
            });
            Item::Late(headers.collect())
        }
        _ => panic!("{door:?}: a frame with the flag {flag}"),
    })
}

fn place(queue: &QueuePosition) -> (Option<i32>, i32) {
    (queue.requests_ahead, queue.units)
}

/// Sends another call, which must find the unit free, and that no call waits.
async fn check_all_is_free(upstream: &Scripted, gateway: &Gateway) {
    upstream.set_pause(None);
    upstream.set_reply(Reply::Json(200, whole("next")));
    let next = gateway.ask(Door::RestUnary, &prompt(MODEL, "hi")).await;
    assert_eq!(next.ok().waited_ms, Some(0));
    let units = gateway.units("any").await;
    assert_eq!(
        (&units["in_use"], &units["queued"]["default"]),
        (&json!(0), &json!(0)),
        "{units}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_its_position_at_every_door_until_its_answer_starts() {
    for door in Door::STREAMS {
        let (upstream, gateway, holder) = taken(|_| {}).await;
        upstream.set_reply(events());
        upstream.set_pause(Some(Duration::from_secs(5)));
        let mut first = Listener::begin(&gateway, door).await;
        let queue = first.waits().await;
        assert_eq!(place(&queue), (Some(0), 1), "{door:?}");
        assert!(queue.waited_ms >= 200, "{door:?}: {queue:?}");
        let mut second = Listener::begin(&gateway, door).await;
        assert_eq!(second.waits().await.requests_ahead, Some(1), "{door:?}");
        let mut third = Listener::begin(&gateway, door).await;
        let told_at = Instant::now();
        assert_eq!(third.waits().await.requests_ahead, Some(2), "{door:?}");

        // A call that leaves gives up its place at once.
        drop(second);
        gateway.wait_for_queued(2).await;
        assert_eq!(third.waits().await.requests_ahead, Some(1), "{door:?}");
        assert!(told_at.elapsed() >= INTERVAL - Duration::from_millis(200));
        assert_eq!(upstream.requests().len(), 1, "only the holder's");

        // The first one is sent now, and the model has not begun to answer.
        drop(holder);
        let queue = first.waits().await;
        assert_eq!(place(&queue), (None, 1), "{door:?}");
        let waited_ms = queue.waited_ms.to_string();
        let head = first.head.clone();
        let (text, late) = first.answer().await;
        assert_eq!(text, "ab", "{door:?}");
        for name in LATE {
            assert!(
                !head.contains_key(name) && late.contains_key(name),
                "{door:?}: {name}"
            );
        }
        assert_eq!(late["x-featherwire-waited-ms"], *waited_ms, "{door:?}");

        let mut places = vec![third.waits().await.requests_ahead];
        if places == [Some(0)] {
            places.push(third.waits().await.requests_ahead);
        }
        assert_eq!(places.last(), Some(&None), "{door:?}");
        assert_eq!(third.answer().await.0, "ab", "{door:?}");
        assert_eq!(
            upstream.requests().len(),
            3,
            "{door:?}: no request of the caller who left"
        );
        check_all_is_free(&upstream, &gateway).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_wait_has_its_headers_first_and_one_without_the_option_is_told_nothing()
 {
    for door in Door::STREAMS {
        let (upstream, gateway, holder) = taken(|_| {}).await;
        upstream.set_reply(events());
        // Without the option.
        let request = prompt(MODEL, "hi");
        let (plain, ()) = tokio::join!(gateway.ask(door, &request), async {
            gateway.wait_for_queued(1).await;
            // The wait itself, on the paused clock.
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(holder);
        });
        let plain = plain.ok();
        assert_eq!((plain.report, plain.pieces), (None, 3), "{door:?}");
        assert!(plain.waited_ms.unwrap() >= 3_000, "{door:?}: in the head");
        // With the option, and a free unit.
        let stream = Listener::begin(&gateway, door).await;
        assert_eq!(stream.head["x-featherwire-waited-ms"], "0", "{door:?}");
        let (text, late) = stream.answer().await;
        assert_eq!(text, "ab", "{door:?}");
        assert!(!late.contains_key("x-featherwire-waited-ms"), "{door:?}");
    }
    // A unary answer has no message for it.
    let (_upstream, gateway, holder) = taken(|_| {}).await;
    let request = with(MODEL, &json!({"queue": true}));
    let (answer, ()) = tokio::join!(gateway.ask(Door::GrpcUnary, &request), async {
        gateway.wait_for_queued(1).await;
        drop(holder);
    });
    assert_eq!(answer.ok().report, None);
}

#[tokio::test(start_paused = true)]
async fn the_report_follows_as_without_the_option() {
    let (upstream, gateway, holder) = taken(|_| {}).await;
    upstream.set_reply(events());
    let options = json!({"queue": true, "report": true});
    let mut stream = Listener::with(&gateway, Door::WebStream, &options).await;
    stream.waits().await;
    drop(holder);
    let (mut report, mut late) = (None, None);
    loop {
        match stream.next().await {
            Item::Message(message) => report = message.featherwire.or(report),
            Item::Late(headers) => late = Some(headers),
            Item::End => break,
        }
    }
    let (report, late) = (report.unwrap(), late.unwrap());
    assert_eq!((report.queue, report.attempts, report.units), (None, 1, 1));
    assert_eq!(
        late["x-featherwire-waited-ms"],
        *report.waited_ms.to_string()
    );
    check_all_is_free(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_is_the_error_of_the_stream() {
    let wait = Duration::from_secs(4);
    let (upstream, gateway, holder) = taken(|config| config.units.queue_timeout = wait).await;
    for door in Door::STREAMS {
        for (options, kind, code) in [
            (json!({"queue": true}), Kind::Saturated, "queue_timeout"),
            (
                json!({"queue": true, "timeout_ms": 3000}),
                Kind::Timeout,
                "deadline_exceeded",
            ),
        ] {
            let answer = gateway.ask(door, &with(MODEL, &options)).await;
            assert_eq!(answer.pieces, 1, "{door:?}: its position was told once");
            answer.failed(kind, code);
        }
    }
    assert_eq!(upstream.requests().len(), 1, "only the holder's");
    drop(holder);
    gateway
        .wait_for_units("the cooldown ends", |view| view["settling"] == 0)
        .await;
    check_all_is_free(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_upstream_refuses_is_in_the_queue_again() {
    let body = json!({"error": {"message": "Per-user concurrency limit exceeded.", "param": null,
        "type": "invalid_request_error", "code": "concurrency_limit_exceeded"}});
    let head = "429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 3";
    let refusal = Reply::Raw(head.to_owned(), body.to_string().into_bytes());
    for door in Door::STREAMS {
        let upstream = Scripted::first([refusal.clone(), events()]).await;
        upstream.set_catalogue(json!({"data": [{"id": MODEL, "concurrency_cost": 1}]}));
        let gateway = Gateway::with(upstream.address, |config| config.units.units = Some(1)).await;
        let mut stream = Listener::begin(&gateway, door).await;
        assert_eq!(place(&stream.waits().await), (Some(0), 1), "{door:?}");
        let (text, late) = stream.answer().await;
        assert_eq!(text, "ab", "{door:?}");
        let waited_ms = late["x-featherwire-waited-ms"].to_str().unwrap();
        assert!(waited_ms.parse::<u64>().unwrap() >= 3_000, "{door:?}");
        assert_eq!(upstream.requests().len(), 2, "{door:?}");
        check_all_is_free(&upstream, &gateway).await;
    }
}

#[tokio::test(start_paused = true)]
async fn text_completions_tell_the_same() {
    let (upstream, gateway, holder) = taken(|_| {}).await;
    let text = json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL,
        "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]});
    upstream.set_reply(Reply::Events(vec![text.to_string(), "[DONE]".to_owned()]));
    let options = GatewayOptions {
        queue: Some(true),
        ..GatewayOptions::default()
    };
    let request = CreateCompletionRequest {
        model: MODEL.to_owned(),
        prompt_kind: Some(PromptKind::Prompt("hi".to_owned())),
        featherwire: Some(Box::new(options)),
        ..CreateCompletionRequest::default()
    };
    let mut client = CompletionServiceClient::new(gateway.channel().await);
    let stream = client.stream_completion(request).await.unwrap();
    let mut stream = stream.into_inner();
    let message = stream.message().await.unwrap().unwrap();
    let queue = message.featherwire.unwrap().queue.unwrap();
    assert_eq!(place(&queue), (Some(0), 1));
    assert_eq!((message.choices.len(), message.model.as_str()), (0, MODEL));
    drop(holder);
    let mut texts = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        texts.extend(
            message
                .choices
                .into_iter()
                .map(|CompletionChoice { text, .. }| text),
        );
    }
    assert_eq!(texts, ["a"]);
    check_all_is_free(&upstream, &gateway).await;
}
