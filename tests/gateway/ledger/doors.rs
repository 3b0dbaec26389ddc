//! The records of calls through every door, by how they end.

use featherwire::ledger::{self, Ending, TokenSource, UsageQuery};
use serde_json::{Value, json};

use super::{Book, all, total};
use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt,
    rest::{Events, http, with_json},
    scripted::{chunk, finish, refused},
};

fn streamed(door: Door, mut request: Value) -> Value {
    if door == Door::RestStream {
        request["stream"] = true.into();
    }
    request
}

#[tokio::test]
async fn a_call_through_each_door_has_one_record_with_the_tokens_that_the_upstream_tells() {
    let book = Book::new().await;
    let emulator = Emulator::start().await;
    let gateway = Gateway::recorded(emulator.address, book.writer.ledger(), |_| {}).await;
    let mut number = 0;
    for door in Door::ALL {
        let mut request = streamed(door, prompt(MODEL, "hi"));
        request["max_tokens"] = 7.into();
        gateway.ask(door, &request).await;
        number += 1;
        let records = book.records(number).await;
        let record = records.last().unwrap();
        let expected = match door {
            Door::RestUnary => ("rest", "CreateChatCompletion"),
            Door::RestStream => ("rest", "StreamChatCompletion"),
            Door::GrpcUnary => ("grpc", "CreateChatCompletion"),
            Door::GrpcStream => ("grpc", "StreamChatCompletion"),
            Door::WebUnary => ("grpc-web", "CreateChatCompletion"),
            Door::WebStream => ("grpc-web", "StreamChatCompletion"),
            Door::ConnectUnary => ("connect", "CreateChatCompletion"),
            Door::ConnectStream => ("connect", "StreamChatCompletion"),
        };
        assert_eq!((record.door.name(), record.rpc.name()), expected);
        assert_eq!(record.ending, Ending::Finished, "{door:?}");
        assert_eq!(record.tokens.source, TokenSource::Upstream, "{door:?}");
        assert_eq!(record.tokens.completion, 7);
        assert!(record.tokens.prompt > 0);
        assert_eq!(&*record.model_asked, MODEL);
        assert_eq!(record.model_answered(), Some(MODEL));
        assert_eq!(&*record.key_name, "everyone");
        assert_eq!(record.first_token_ms.is_some(), door.is_stream());
        assert_eq!((record.attempts, record.error_code.as_deref()), (1, None));
        assert!(record.units > 0 && record.request_id.is_some());
    }
    let sums = total(&book.queries).await;
    let (calls, prompt, completion) = (sums.calls, sums.prompt_tokens, sums.completion_tokens);
    assert_eq!((calls, completion), (8, 56));
    let of_records: u64 = all(&book.queries)
        .await
        .iter()
        .map(|r| r.tokens.prompt)
        .sum();
    assert_eq!(prompt, of_records);
    assert_eq!((sums.failed, sums.cancelled, sums.counted), (0, 0, 0));
}

#[tokio::test]
async fn a_refused_call_has_a_record_with_its_code_and_costs_nothing() {
    let book = Book::new().await;
    let upstream = Scripted::always(refused(404, "model_not_found", "no such model")).await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    let mut number = 0;
    for door in Door::ALL {
        for (request, asked, code) in [
            (
                prompt("no/such-model", "hi"),
                "no/such-model",
                "model_not_found",
            ),
            (
                json!({"model": MODEL, "messages": []}),
                MODEL,
                "invalid_value",
            ),
        ] {
            gateway.ask(door, &streamed(door, request)).await;
            number += 1;
            let records = book.records(number).await;
            let record = records.last().unwrap();
            assert_eq!(record.ending, Ending::Failed);
            assert_eq!(record.error_code.as_deref(), Some(code), "{door:?}");
            assert_eq!(&*record.model_asked, asked);
            assert_eq!((record.model_answered(), record.units), (None, 0));
            assert_eq!(record.tokens, ledger::Tokens::default());
        }
    }
    // A name that no model has is in no sum.
    let mut query = UsageQuery::default();
    query.grouping.by_model = true;
    let rows = book.queries.usage(&query).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| row.model.as_deref() != Some("no/such-model")),
        "{rows:?}"
    );
    // What is no call of a model has no record.
    for path in ["/v1/models", "/healthz", "/v1/concurrency"] {
        let _ = http().get(gateway.url(path)).send().await.unwrap();
    }
    // A body that cannot be read.
    let call = with_json(http().post(gateway.url("/v1/embeddings")), "{");
    assert_eq!(call.send().await.unwrap().status(), 400);
    let records = book.records(number + 1).await;
    let last = records.last().unwrap();
    assert_eq!(last.error_code.as_deref(), Some("invalid_json"));
    assert_eq!(
        (last.rpc.name(), &*last.model_asked),
        ("CreateEmbedding", "")
    );
}

#[tokio::test]
async fn a_stream_without_usage_is_counted_by_the_gateway() {
    let events = vec![chunk("one"), chunk(" two"), chunk(" three"), finish()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let book = Book::new().await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    for (number, door) in (1..).zip(Door::STREAMS) {
        gateway
            .ask(door, &streamed(door, prompt(MODEL, "hi")))
            .await;
        let records = book.records(number).await;
        let record = records.last().unwrap();
        assert_eq!(record.ending, Ending::Finished);
        assert_eq!(record.tokens.source, TokenSource::Counted);
        assert!(record.tokens.prompt > 0);
        // Three chunks with text, and perhaps the one that ends it.
        assert!((3..=4).contains(&record.tokens.completion), "{record:?}");
    }
    assert_eq!(total(&book.queries).await.counted, 4);
}

#[tokio::test]
async fn a_call_that_its_caller_leaves_is_cancelled_and_counted() {
    let book = Book::new().await;
    let upstream =
        Scripted::always(Reply::EventsThenSilence(vec![chunk("one"), chunk(" two")])).await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    let request = streamed(Door::RestStream, prompt(MODEL, "hi"));
    let url = gateway.url("/v1/chat/completions");
    let mut events = Events::of(with_json(http().post(url), request.to_string())).await;
    events.next().await.unwrap();
    events.next().await.unwrap();
    drop(events);
    let records = book.records(1).await;
    let record = &records[0];
    assert_eq!(
        (record.ending, record.error_code.as_deref()),
        (Ending::Cancelled, None)
    );
    assert_eq!(record.tokens.source, TokenSource::Counted);
    assert!(
        record.tokens.completion >= 2 && record.units > 0,
        "{record:?}"
    );
    assert_eq!(total(&book.queries).await.cancelled, 1);
}
