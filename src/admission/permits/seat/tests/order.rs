//! One queue, whichever gateway a request comes to.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_unit_that_one_gateway_gives_back_goes_to_the_request_that_came_first_at_any() {
    let cluster = Cluster::new(3, 2).await;
    let first = cluster.start(1, 1).await;
    let second = cluster.start(2, 1).await;
    let third = cluster.ask(2, 1);
    cluster.settle().await;
    let fourth = cluster.ask(0, 1);
    cluster.settle().await;
    assert!(!third.is_finished() && !fourth.is_finished());
    first.finish();
    cluster.settle().await;
    assert!(third.is_finished() && !fourth.is_finished());
    second.finish();
    cluster.settle().await;
    assert!(fourth.is_finished());
    third.await.unwrap().unwrap().finish();
    fourth.await.unwrap().unwrap().finish();
    cluster.settle().await;
    assert_eq!(cluster.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_leaves_the_queue_of_the_leader() {
    let cluster = Cluster::new(2, 1).await;
    let running = cluster.start(1, 1).await;
    let waiting = cluster.ask(1, 1);
    cluster.settle().await;
    assert_eq!(cluster.gateways[0].status().queued.default, 1);
    waiting.abort();
    cluster.settle().await;
    assert_eq!(cluster.gateways[0].status().queued.default, 0);
    drop(running);
    cluster.settle().await;
    let status = cluster.gateways[0].status();
    assert_eq!((status.in_use, status.cooldown_units), (0, 1));
    cluster.pass(Duration::from_secs(1)).await;
    assert_eq!(cluster.gateways[0].status().cooldown_units, 0);
}

#[tokio::test(start_paused = true)]
async fn each_gateway_tells_a_request_how_many_are_before_it() {
    let cluster = Cluster::new(2, 1).await;
    let _running = cluster.start(0, 1).await;
    let _others: Vec<_> = (0..3).map(|_| cluster.ask(0, 1)).collect();
    cluster.settle().await;
    let position = QueuePosition::default();
    let (permits, watched) = (cluster.gateways[1].clone(), position.clone());
    let waiting =
        tokio::spawn(async move { permits.acquire(MODEL, request(1), &watched).await.map(drop) });
    cluster.settle().await;
    assert_eq!(
        position.requests_ahead(),
        Some(0),
        "the leader has not told yet"
    );
    cluster.pass(Duration::from_secs(1)).await;
    assert_eq!(position.requests_ahead(), Some(3));
    waiting.abort();
    cluster.settle().await;
    assert_eq!(position.requests_ahead(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_of_a_follower_waits_again_and_the_leader_learns_from_it() {
    let cluster = Cluster::new(2, 2).await;
    let permit = cluster.start(1, 1).await;
    let again = tokio::spawn(async move {
        let position = QueuePosition::unwatched();
        permit.requeue_after_refusal(&full(), &position).await
    });
    cluster.settle().await;
    assert!(!again.is_finished(), "others have taken the units");
    let status = cluster.gateways[0].status();
    assert_eq!((status.external_units, status.in_use), (2, 0));
    assert_eq!(cluster.gateways[0].refusals(), 1);
    sleep(Duration::from_millis(1)).await;
    let now = tokio::time::Instant::now();
    cluster.gateways[0].apply_snapshot(Some(now), Some(2), 0, &[]);
    cluster.pass(Duration::from_secs(1)).await;
    assert!(again.is_finished());
    again.await.unwrap().unwrap().finish();
    cluster.settle().await;
    assert_eq!(cluster.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_pauses_gives_its_units_to_others() {
    let cluster = Cluster::new(2, 1).await;
    let permit = cluster.start(1, 1).await;
    let other = cluster.ask(0, 1);
    cluster.settle().await;
    let paused = tokio::spawn(async move {
        let position = QueuePosition::unwatched();
        permit.pause(Duration::from_secs(5), false, &position).await
    });
    cluster.settle().await;
    assert!(other.is_finished());
    other.await.unwrap().unwrap().finish();
    cluster.pass(Duration::from_secs(4)).await;
    assert!(!paused.is_finished());
    cluster.pass(Duration::from_secs(2)).await;
    assert!(paused.is_finished());
    paused.await.unwrap().unwrap().cancel_unsent();
    cluster.settle().await;
    assert_eq!(cluster.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_fits_is_refused_on_each_gateway() {
    let cluster = Cluster::new(2, 2).await;
    for gateway in 0..2 {
        let asked = cluster.ask(gateway, 4);
        cluster.settle().await;
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "model_exceeds_plan", "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_starts_requests_in_the_order_of_their_arrival() {
    let mut cluster = Cluster::new(3, 1).await;
    let running = cluster.start(1, 1).await;
    let mut waiting = Vec::new();
    for gateway in [2, 1, 2, 1] {
        waiting.push(cluster.ask(gateway, 1));
        sleep(Duration::from_millis(1)).await;
    }
    cluster.settle().await;
    cluster.elect(1);
    cluster.settle().await;
    assert_eq!(cluster.gateways[1].status().in_use, 1, "it knows what runs");
    running.finish();
    let mut waiting = waiting.into_iter();
    while let Some(next) = waiting.next() {
        cluster.settle().await;
        assert!(next.is_finished());
        assert!(waiting.as_slice().iter().all(|asked| !asked.is_finished()));
        next.await.unwrap().unwrap().finish();
    }
}
