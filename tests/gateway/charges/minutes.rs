//! The tokens of a minute.

use std::time::Duration;

use serde_json::json;

use super::Metered;
use crate::support::{
    Door, MODEL, Reply, Scripted, advance, prompt,
    rest::{Events, http, with_json},
    scripted::chunk,
};

#[tokio::test]
async fn a_long_call_gives_back_only_what_still_counts() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let limits = json!({"tokens_per_minute": 600});
    let key = Metered::new(&upstream, limits, |serve| {
        serve.upstream.idle_timeout = Duration::from_secs(3600);
    })
    .await;
    let at_most = |tokens: u64| {
        let mut request = prompt(MODEL, "hi");
        request["max_tokens"] = tokens.into();
        request
    };
    let mut stream = at_most(500);
    stream["stream"] = true.into();
    let post = http().post(key.gateway.url("/v1/chat/completions"));
    let post = with_json(post, stream.to_string()).bearer_auth(&key.secret);
    let mut running = Events::of(post).await;
    running.next().await.unwrap();
    advance(Duration::from_secs(60)).await;

    // The minute of the stream has passed: another call may take all of the next one.
    upstream.set_reply(Reply::Silence);
    let whole = at_most(600);
    let request = key.ask(Door::RestUnary, &whole, &[]);
    let while_it_waits = async {
        upstream.wait_for_requests(2).await;
        drop(running);
        // The stream has used a few of its tokens, and gives nothing back.
        key.records(1).await;
        key.ask(Door::RestUnary, &at_most(300), &[]).await
    };
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        refused = while_it_waits => {
            assert_eq!(refused.failure.unwrap().code, "rate_limit_exceeded");
        }
    }
    assert_eq!(upstream.requests().len(), 2);
}
