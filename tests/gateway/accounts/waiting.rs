//! Calls that wait for units, when another account has room first.

use super::{Emulator, Gateway, MODEL, emulator, fixed, gateway, in_use, wait_for_gauge};

/// A model that costs four units at the first account, whose list tells it first.
const LARGE_MODEL: &str = "Qwen/Qwen2.5-72B-Instruct";

const QUEUED: &str = "featherwire_queue_requests";

/// A gateway with two accounts of this number of units. Without a feed, so that only the end of a call tells
/// of room.
async fn two(small_units: u32, large_units: u32) -> (Gateway, Emulator, Emulator) {
    let (small, large) = (
        emulator(small_units, 1.0).await,
        emulator(large_units, 1.0).await,
    );
    let accounts = [
        fixed("small", small.address, small_units),
        fixed("large", large.address, large_units),
    ];
    (gateway(accounts).await, small, large)
}

#[tokio::test]
async fn a_call_that_waits_at_one_account_starts_at_another_that_has_room_first() {
    let (gateway, small, large) = two(2, 4).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        streams.push(gateway.open_stream(MODEL).await);
    }
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [2.0, 4.0]);
    let waiting = gateway.open_stream(MODEL);
    let at_large = "class=\"default\",account=\"large\"";
    let room_at_small = async {
        wait_for_gauge(&gateway, QUEUED, at_large, 1.0).await;
        // The third stream is at the small account.
        streams.remove(2);
    };
    let (started, ()) = tokio::join!(waiting, room_at_small);
    assert_eq!(started.status(), 200);
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [2.0, 4.0]);
    wait_for_gauge(&gateway, QUEUED, at_large, 0.0).await;
    // What becomes free at the large account is not kept for the call that has left.
    streams.remove(0);
    streams.push(gateway.open_stream(MODEL).await);
    drop((streams, started));
    small.wait_until_idle().await;
    large.wait_until_idle().await;
}

#[tokio::test]
async fn a_call_that_cannot_use_the_room_lets_the_next_one_look() {
    let (gateway, small, large) = two(1, 8).await;
    let mut streams = Vec::new();
    for _ in 0..7 {
        streams.push(gateway.open_stream(MODEL).await);
    }
    // One unit is free at each, and the first account is the better one then.
    let at_small = gateway.open_stream(MODEL).await;
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [1.0, 7.0]);
    streams.push(gateway.open_stream(MODEL).await);
    let at_large = "class=\"default\",account=\"large\"";
    let large_call = gateway.open_stream(LARGE_MODEL);
    let small_call = async {
        wait_for_gauge(&gateway, QUEUED, at_large, 1.0).await;
        gateway.open_stream(MODEL).await
    };
    let room = async {
        wait_for_gauge(&gateway, QUEUED, at_large, 2.0).await;
        drop(at_small);
    };
    let mut large_call = std::pin::pin!(large_call);
    let both = async { tokio::join!(small_call, room) };
    let started = tokio::select! {
        _ = &mut large_call => panic!("one unit is free, and it costs four"),
        (started, ()) = both => started,
    };
    assert_eq!(started.status(), 200);
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [1.0, 8.0]);
    streams.truncate(4);
    assert_eq!(large_call.await.status(), 200, "four units are free");
    drop((streams, started));
    small.wait_until_idle().await;
    large.wait_until_idle().await;
}

#[tokio::test]
async fn all_calls_that_fit_start_when_one_large_call_ends() {
    let (gateway, small, large) = two(4, 16).await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(gateway.open_stream(MODEL).await);
    }
    // Four units are free at each, and the first account is the better one then.
    let at_small = gateway.open_stream(LARGE_MODEL).await;
    for _ in 0..4 {
        streams.push(gateway.open_stream(MODEL).await);
    }
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [4.0, 16.0]);
    let at_large = "class=\"default\",account=\"large\"";
    let waiting = async {
        let calls = [(); 3].map(|()| gateway.open_stream(MODEL));
        futures_util::future::join_all(calls).await
    };
    let room = async {
        wait_for_gauge(&gateway, QUEUED, at_large, 3.0).await;
        drop(at_small);
    };
    let (started, ()) = tokio::join!(waiting, room);
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [3.0, 16.0]);
    drop((streams, started));
    small.wait_until_idle().await;
    large.wait_until_idle().await;
}
