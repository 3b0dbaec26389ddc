//! Budgets of unit-seconds, of which nobody knows before how much a call uses.

use std::time::Duration;

use super::{Metered, budgets};
use crate::support::{
    Door, MODEL, Reply, Scripted, advance, poll, prompt,
    rest::{Events, http, with_json},
    scripted::chunk,
};

#[tokio::test]
async fn what_running_calls_have_used_so_far_is_spent() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let key = Metered::new(&upstream, budgets(&[("unit_seconds", 300)]), |serve| {
        serve.upstream.idle_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut request = prompt(MODEL, "hi");
    request["stream"] = true.into();
    let start = async || {
        let post = http().post(key.gateway.url("/v1/chat/completions"));
        let post = with_json(post, request.to_string()).bearer_auth(&key.secret);
        let mut events = Events::of(post).await;
        events.next().await.unwrap();
        events
    };
    let first = start().await;
    advance(Duration::from_secs(100)).await;
    let second = start().await;
    let spent = key.budgets().await[0].0;
    assert!((100..150).contains(&spent), "{spent}");
    // Both count: 200 and 100 seconds.
    advance(Duration::from_secs(100)).await;
    for door in Door::ALL {
        let refused = key.ask(door, &prompt(MODEL, "hi"), &[]).await;
        let failure = refused.failure.unwrap();
        assert_eq!(failure.code, "budget_exhausted");
        let left = "0 of 300 unit-seconds left for this day";
        assert!(failure.message.contains(left), "{}", failure.message);
        assert!(
            failure.message.contains("It renews at"),
            "{}",
            failure.message
        );
    }
    assert_eq!(upstream.requests().len(), 2);
    drop((first, second));
    let records = key.records(2 + Door::ALL.len()).await;
    let used: u64 = records.iter().map(|record| record.unit_ms).sum();
    let used = i64::try_from(used / 1000).unwrap();
    assert!((300..400).contains(&used), "{records:?}");
    poll::until("nothing is held", async || {
        key.budgets().await == [(used, 0)]
    })
    .await;
}
