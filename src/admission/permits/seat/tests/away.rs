//! Gateways without a leader, and without Redis.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_a_leader_requests_wait_until_their_deadline_and_no_longer() {
    let cluster = Cluster::new(2, 1).await;
    // No message is carried from here on.
    let asked = cluster.ask(1, 1);
    sleep(QUEUE_TIMEOUT + Duration::from_secs(1)).await;
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "queue_timeout", "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_gateway_held_is_kept_back_until_the_account_shows_that_it_is_free() {
    let cluster = Cluster::new(2, 2).await;
    let _held = cluster.start(1, 1).await;
    let (_own, waiting) = (cluster.start(0, 1).await, cluster.ask(0, 1));
    cluster.settle().await;
    // The second gateway falls silent.
    for _ in 0..8 {
        sleep(Duration::from_millis(500)).await;
        cluster.see([0]);
    }
    let status = cluster.gateways[0].status();
    assert_eq!((status.in_use, status.cooldown_units), (1, 1));
    for _ in 0..12 {
        sleep(Duration::from_millis(500)).await;
        cluster.see([0]);
    }
    assert!(
        !waiting.is_finished(),
        "its share is left to it: it may only be cut off"
    );
    let own = [ListedRequest {
        model: MODEL,
        cost: 1,
        duration: Duration::from_secs(10),
    }];
    cluster.gateways[0].apply_snapshot(None, Some(2), 1, &own);
    for _ in 0..2 {
        sleep(Duration::from_millis(500)).await;
        cluster.see([0]);
    }
    assert!(waiting.is_finished(), "the account shows that it is gone");
}

#[tokio::test(start_paused = true)]
async fn without_redis_each_gateway_uses_its_share_and_never_the_whole_plan() {
    let cluster = Cluster::new(2, 3).await;
    let running = cluster.start(1, 1).await;
    sleep(LEASE).await;
    cluster.miss(0);
    cluster.miss(1);
    let asked: Vec<_> = [0, 0, 0, 1, 1, 1]
        .map(|gateway| cluster.ask(gateway, 1))
        .into();
    // No snapshot comes.
    sleep(Duration::from_secs(2)).await;
    let started = asked.iter().filter(|asked| asked.is_finished()).count();
    assert_eq!(
        started, 2,
        "two of the first, and one of the second runs already"
    );
    assert_eq!(
        cluster.gateways[0].cluster_status().unwrap().role,
        Role::Alone
    );
    running.finish();
    // Redis is back.
    cluster.see(0..2);
    cluster.settle().await;
    let started = asked.iter().filter(|asked| asked.is_finished()).count();
    assert_eq!((started, cluster.in_use()), (3, 3), "one queue again");
    assert_eq!(
        cluster.gateways[1].cluster_status().unwrap().role,
        Role::Following
    );
}

#[tokio::test(start_paused = true)]
async fn without_redis_a_request_above_the_share_starts_only_if_snapshots_show_room_in_its_turn() {
    let cluster = Cluster::new(2, 4).await;
    sleep(LEASE).await;
    cluster.miss(0);
    let large = cluster.ask(0, 4);
    let others = [other()];
    let show = async |others: &[ListedRequest<'_>]| {
        sleep(Duration::from_millis(500)).await;
        let (now, used) = (tokio::time::Instant::now(), others.len() as u32);
        cluster.gateways[0].apply_snapshot(Some(now), Some(4), used, others);
        sleep(Duration::from_millis(1)).await;
    };
    // A turn of each.
    for _ in 0..8 {
        show(&others).await;
        assert!(!large.is_finished(), "three units are free");
    }
    let mut snapshots = 0;
    while !large.is_finished() {
        show(&[]).await;
        snapshots += 1;
    }
    assert!(
        (3..=8).contains(&snapshots),
        "fewer may be chance: {snapshots}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_redis_refusals_beyond_the_share_end_no_wait() {
    let cluster = Cluster::new(2, 4).await;
    sleep(LEASE).await;
    cluster.miss(0);
    let mut large = cluster.ask(0, 4);
    for _ in 0..8 {
        let mut snapshots = 0;
        while !large.is_finished() && snapshots < 60 {
            sleep(Duration::from_millis(500)).await;
            let now = tokio::time::Instant::now();
            cluster.gateways[0].apply_snapshot(Some(now), Some(4), 0, &[]);
            sleep(Duration::from_millis(1)).await;
            snapshots += 1;
        }
        let permit = large.await.unwrap().unwrap();
        // Another gateway has started at the same time.
        large = tokio::spawn(async move {
            let position = QueuePosition::unwatched();
            permit.requeue_after_refusal(&full(), &position).await
        });
        cluster.settle().await;
    }
    assert!(!large.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_its_lease_starts_nothing_more() {
    let cluster = Cluster::new(2, 2).await;
    for _ in 0..29 {
        sleep(LEASE / 30).await;
        cluster.carry().await;
    }
    cluster.start(1, 1).await.finish();
    sleep(LEASE / 30).await;
    let asked = cluster.ask(1, 1);
    cluster.settle().await;
    assert!(!asked.is_finished());
    cluster.see(0..2);
    cluster.settle().await;
    assert!(asked.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_redis_does_not_answer_starts_nothing_until_it_does() {
    let cluster = Cluster::new(2, 2).await;
    cluster.miss(0);
    let asked = cluster.ask(0, 1);
    cluster.settle().await;
    assert!(!asked.is_finished(), "others may be alone already");
    cluster.see(0..2);
    cluster.settle().await;
    assert!(asked.is_finished());
}

#[tokio::test(start_paused = true)]
async fn without_redis_nothing_starts_on_units_that_another_gateway_still_holds_beyond_its_share() {
    let cluster = Cluster::new(3, 6).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(cluster.start(1, 1).await);
    }
    cluster.tell_view();
    sleep(LEASE).await;
    for gateway in 0..3 {
        cluster.miss(gateway);
    }
    let asked: Vec<_> = [0, 0, 2, 2].map(|gateway| cluster.ask(gateway, 1)).into();
    let started = |asked: &[JoinHandle<_>]| asked.iter().filter(|one| one.is_finished()).count();
    let show = |cluster: &Cluster, used: u32| {
        let others: Vec<_> = (0..used).map(|_| other()).collect();
        let now = tokio::time::Instant::now();
        for gateway in [0, 2] {
            cluster.gateways[gateway].apply_snapshot(Some(now), Some(6), used, &others);
        }
    };
    sleep(Duration::from_millis(100)).await;
    show(&cluster, 6);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(started(&asked), 0);
    let mut held = held.into_iter();
    held.by_ref().take(2).for_each(Permit::finish);
    show(&cluster, 4);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        started(&asked),
        0,
        "each could take the two units, but not both"
    );
    held.by_ref().take(2).for_each(Permit::finish);
    show(&cluster, 2);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(started(&asked), 4, "each has its share");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_whose_grants_come_too_late_goes_on_with_its_share_and_the_leader_leaves_it() {
    let cluster = Cluster::new(2, 2).await;
    let waiting: Vec<_> = (0..3).map(|_| cluster.ask(1, 1)).collect();
    for _ in 0..5 {
        // There and back takes longer than a grant holds.
        sleep(Duration::from_millis(2_500)).await;
        cluster.see(0..2);
        cluster.carry_once();
    }
    let status = cluster.gateways[1].cluster_status().unwrap();
    assert_eq!(status.role, Role::Alone);
    let others: Vec<_> = (0..2).map(|_| cluster.ask(0, 1)).collect();
    cluster.pass(Duration::from_secs(8)).await;
    let started = |asked: &[JoinHandle<_>]| asked.iter().filter(|one| one.is_finished()).count();
    assert_eq!((started(&waiting), started(&others)), (1, 1));
    assert_eq!(
        cluster.gateways[1].cluster_status().unwrap().role,
        Role::Alone
    );
    cluster.pass(Duration::from_secs(30)).await;
    assert_eq!(
        cluster.gateways[1].cluster_status().unwrap().role,
        Role::Following
    );
}

#[tokio::test(start_paused = true)]
async fn a_gateway_alone_beside_a_leader_has_its_share_while_the_others_use_theirs() {
    let cluster = Cluster::new(3, 6).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(cluster.start(0, 1).await);
    }
    let waiting: Vec<_> = (0..2).map(|_| cluster.ask(1, 1)).collect();
    cluster.seat(1).change(|core, now| {
        core.go_alone_beside_leader(now, "its grants come too late");
    });
    let now = tokio::time::Instant::now();
    let others = [(); 4].map(|()| other());
    cluster.gateways[1].apply_snapshot(Some(now), Some(6), 4, &others);
    sleep(Duration::from_millis(1)).await;
    assert!(waiting.iter().all(JoinHandle::is_finished));
}

#[tokio::test(start_paused = true)]
async fn grants_of_a_leader_that_stood_still_drive_no_gateway_out() {
    let cluster = Cluster::new(2, 4).await;
    let waiting: Vec<_> = (0..4).map(|_| cluster.ask(1, 1)).collect();
    sleep(Duration::from_millis(2_500)).await;
    cluster.see(0..2);
    cluster.carry().await;
    let role = cluster.gateways[1].cluster_status().unwrap().role;
    assert_eq!(role, Role::Following);
    cluster.pass(Duration::from_secs(1)).await;
    assert!(waiting.iter().all(JoinHandle::is_finished));
}

#[tokio::test(start_paused = true)]
async fn without_snapshots_the_share_of_a_dead_gateway_is_free_after_half_a_minute() {
    let cluster = Cluster::new(2, 2).await;
    let _other = cluster.start(1, 1).await;
    let _own = cluster.start(0, 1).await;
    let waiting = cluster.ask(0, 1);
    // The second gateway falls silent.
    let mut seconds = 0;
    while !waiting.is_finished() && seconds < 60 {
        sleep(Duration::from_secs(1)).await;
        cluster.see([0]);
        seconds += 1;
    }
    assert!((30..40).contains(&seconds), "after {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_slow_gateway_leads_if_nobody_else_is_there() {
    let cluster = Cluster::new(2, 2).await;
    let _waiting: Vec<_> = (0..3).map(|_| cluster.ask(1, 1)).collect();
    for _ in 0..5 {
        sleep(Duration::from_millis(2_500)).await;
        cluster.see(0..2);
        cluster.carry_once();
    }
    assert!(!cluster.seat(1).lock().may_lead());
    // The leader is gone.
    for _ in 0..31 {
        sleep(Duration::from_secs(1)).await;
        cluster.see_nobody(1);
    }
    assert!(cluster.seat(1).lock().may_lead());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_hears_nothing_of_its_leader_goes_on_alone_and_is_back_later() {
    let cluster = Cluster::new(2, 2).await;
    // The lease goes on, but no message comes.
    for _ in 0..9 {
        sleep(Duration::from_secs(1)).await;
        cluster.see([1]);
    }
    let role = || cluster.gateways[1].cluster_status().unwrap().role;
    assert_eq!(role(), Role::Alone);
    for _ in 0..31 {
        sleep(Duration::from_secs(1)).await;
        cluster.see(0..2);
        cluster.carry().await;
    }
    assert_eq!(role(), Role::Following);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_has_led_and_gone_alone_never_leads_that_epoch_again() {
    let cluster = Cluster::new(1, 2).await;
    sleep(LEASE).await;
    cluster.miss(0);
    assert!(cluster.seat(0).lock().known_epoch() > Some(Epoch(cluster.epoch)));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_has_left_says_nothing_more() {
    let cluster = Cluster::new(2, 2).await;
    cluster.seat(1).change(super::super::core::Core::leave);
    cluster.carry().await;
    sleep(Duration::from_secs(2)).await;
    assert!(!cluster.carry_once());
    let members = cluster.seat(0).lock().leader.as_ref().unwrap().counts();
    assert_eq!(members, (1, 0), "nobody is lost");
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_leaves_the_share_of_a_member_that_the_last_one_had_lost() {
    let mut cluster = Cluster::new(3, 3).await;
    // The third is cut off.
    for _ in 0..10 {
        sleep(Duration::from_millis(500)).await;
        cluster.see(0..2);
        cluster.carry_between(0..2);
    }
    cluster.tell_view();
    (cluster.epoch, cluster.leader) = (2, 1);
    cluster.see(0..2);
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        cluster.carry_between(0..2);
    }
    let asked: Vec<_> = (0..3).map(|_| cluster.ask(1, 1)).collect();
    sleep(Duration::from_millis(500)).await;
    cluster.carry_between(0..2);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(asked.iter().filter(|one| one.is_finished()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn cooldowns_that_end_while_nothing_may_start_do_not_keep_the_driver_awake() {
    let cluster = Cluster::new(1, 2).await;
    let running = cluster.start(0, 1).await;
    sleep(LEASE - Duration::from_millis(100)).await;
    drop(running);
    sleep(Duration::from_secs(1)).await;
    let wakes_at = cluster.seat(0).tick();
    assert!(wakes_at > tokio::time::Instant::now());
}
