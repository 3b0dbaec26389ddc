use super::*;

const MODEL: &str = "org/model";

struct Scene {
    now: Instant,
    own: Vec<OwnRequest<'static>>,
    listed: Vec<ListedRequest<'static>>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Scene {
    fn new() -> Self {
        Self {
            now: Instant::now() + Duration::from_secs(1000),
            own: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// An own request that was sent `started_ago` milliseconds ago, and perhaps ended `ended_ago` ago.
    fn own(mut self, cost: u32, started_ago: u64, ended_ago: Option<u64>) -> Self {
        let started_at = self.now - ms(started_ago);
        let ended_at = ended_ago.map(|ago| self.now - ms(ago));
        self.own.push(OwnRequest {
            model: MODEL,
            cost,
            started_at,
            ended_at,
        });
        self
    }

    fn listed(mut self, cost: u32, duration: u64) -> Self {
        self.listed.push(ListedRequest {
            model: MODEL,
            cost,
            duration: ms(duration),
        });
        self
    }

    fn external_units(&self) -> u32 {
        self.external_units_of(self.listed.iter().map(|listed| listed.cost).sum())
    }

    /// The places of the listed requests that have ended.
    fn ended(&self) -> Vec<usize> {
        RequestMatcher::default().ended(&self.listed, &self.own, LAG, self.now)
    }

    fn external_units_of(&self, used_cost: u32) -> u32 {
        RequestMatcher::default().external_units(
            &Snapshot {
                received_at: self.now,
                lag: LAG,
                used_cost,
                requests: &self.listed,
            },
            &self.own,
        )
    }
}

#[test]
fn a_listed_request_that_is_not_own_is_external() {
    let scene = Scene::new()
        .own(1, 10_000, None)
        .listed(1, 9_000)
        .listed(4, 9_000)
        .listed(1, 60_000);
    assert_eq!(scene.external_units(), 5);
}

#[test]
fn a_request_that_was_just_sent_is_not_listed_yet_and_an_ended_one_still_is() {
    assert_eq!(Scene::new().own(1, 500, None).external_units(), 0);
    assert_eq!(
        Scene::new()
            .own(2, 30_000, Some(1_500))
            .listed(2, 28_500)
            .external_units(),
        0
    );
    let long_over = Scene::new().own(2, 30_000, Some(2_500)).listed(2, 28_500);
    assert_eq!(
        long_over.external_units(),
        2,
        "the snapshot cannot be that old"
    );
}

#[test]
fn each_own_request_explains_one_listed_request() {
    let scene = Scene::new()
        .own(1, 10_000, None)
        .listed(1, 9_900)
        .listed(1, 9_000);
    assert_eq!(
        scene.external_units(),
        1,
        "two alike, and one of them is own"
    );
    // If the first listed request got the first own one that is possible, the second would have
    // none.
    let scene = Scene::new()
        .own(1, 10_000, None)
        .own(1, 13_000, None)
        .listed(1, 12_900)
        .listed(1, 9_900);
    assert_eq!(scene.external_units(), 0);
    let other = ListedRequest {
        model: "org/other",
        cost: 1,
        duration: ms(10_000),
    };
    let mut scene = Scene::new().own(1, 10_000, None).listed(1, 9_900);
    scene.listed.push(other);
    assert_eq!(
        scene.external_units(),
        1,
        "another model is another request"
    );
    scene.listed.remove(0);
    assert_eq!(
        scene.external_units(),
        0,
        "unless an own request must be listed, and is listed by another name"
    );
}

#[test]
fn a_request_that_has_just_ended_explains_only_one_with_the_usual_delay() {
    let scene = Scene::new()
        .own(1, 40_000, None)
        .own(1, 50_000, None)
        .own(2, 10_000, Some(500));
    let scene = scene.listed(1, 39_700).listed(1, 49_600);
    assert_eq!(scene.listed(2, 9_700).external_units(), 0);
    let scene = Scene::new()
        .own(1, 40_000, None)
        .own(1, 50_000, None)
        .own(2, 10_000, Some(500));
    let scene = scene.listed(1, 39_700).listed(1, 49_600);
    assert_eq!(scene.listed(2, 8_700).external_units(), 2);
    let scene = Scene::new()
        .own(1, 40_000, None)
        .own(1, 50_000, None)
        .own(2, 10_000, None);
    let scene = scene.listed(1, 39_700).listed(1, 49_600);
    assert_eq!(
        scene.listed(2, 8_700).external_units(),
        0,
        "but a request that must be listed may have been slow on its way"
    );
}

#[test]
fn starts_may_differ_by_the_tolerance_and_later_ones_by_more() {
    assert_eq!(
        Scene::new()
            .own(1, 10_000, None)
            .listed(1, 13_000)
            .external_units(),
        0
    );
    assert_eq!(
        Scene::new()
            .own(1, 10_000, None)
            .listed(1, 13_100)
            .external_units(),
        1
    );
    let sent_again = Scene::new().own(4, 40_000, None).listed(4, 20_000);
    assert_eq!(
        sent_again.external_units(),
        0,
        "the own request must be listed, so this is it"
    );
    assert_eq!(
        sent_again.listed(4, 39_700).external_units(),
        4,
        "unless there is a better match"
    );
}

#[test]
fn a_request_with_a_wrong_cost_is_still_own() {
    let scene = Scene::new().own(1, 10_000, None).listed(4, 9_900);
    assert_eq!(scene.external_units(), 3, "only the difference is external");
    let scene = Scene::new()
        .own(1, 10_000, None)
        .listed(4, 9_900)
        .listed(1, 8_000);
    assert_eq!(
        scene.external_units(),
        4,
        "the same cost is a better match than the nearer start"
    );
}

#[test]
fn without_a_list_own_requests_explain_as_much_as_they_held_at_one_moment() {
    let scene = Scene::new()
        .own(2, 30_000, None)
        .own(1, 30_000, Some(1_000))
        .own(1, 900, None);
    assert_eq!(
        scene.external_units_of(5),
        2,
        "the second had ended when the third started"
    );
    assert_eq!(scene.external_units_of(1), 0);
    let partial = Scene::new().own(2, 30_000, None).listed(2, 30_000);
    assert_eq!(
        partial.external_units_of(6),
        4,
        "a list that does not add up is not used"
    );
}

#[test]
fn when_the_usual_lag_is_known_requests_that_ended_before_it_explain_nothing() {
    let mut matcher = RequestMatcher::default();
    let mut tell = |scene: &Scene| {
        let used_cost = scene.listed.iter().map(|listed| listed.cost).sum();
        matcher.external_units(
            &Snapshot {
                received_at: scene.now,
                lag: LAG,
                used_cost,
                requests: &scene.listed,
            },
            &scene.own,
        )
    };
    let over = Scene::new().own(1, 10_000, Some(1_000)).listed(1, 9_700);
    let lately = Scene::new().own(1, 10_000, Some(400)).listed(1, 9_700);
    let early = Scene::new().own(1, 10_000, Some(400)).listed(1, 8_700);
    assert_eq!(
        (tell(&over), tell(&lately), tell(&early)),
        (0, 0, 0),
        "all of it is possible"
    );
    for started_ago in 1..=DELAYS_MIN as u64 {
        tell(
            &Scene::new()
                .own(1, started_ago * 5_000, None)
                .listed(1, started_ago * 5_000 - 300),
        );
    }
    assert_eq!(
        (tell(&over), tell(&lately), tell(&early)),
        (1, 0, 1),
        "the lag is 0.3 s"
    );
    // These could be matched in several ways, so their delays are not remembered.
    for _ in 0..100 {
        tell(
            &Scene::new()
                .own(1, 9_000, None)
                .own(1, 9_100, None)
                .listed(1, 7_000)
                .listed(1, 7_100),
        );
    }
    assert_eq!(tell(&lately), 0);
}

#[test]
fn many_own_requests_are_all_matched() {
    let mut scene = Scene::new();
    for number in 0..200 {
        let started_ago = 4_000 + number * 17;
        scene = scene
            .own(1, started_ago, None)
            .listed(1, started_ago - 300 - number * 7 % 50);
    }
    assert_eq!(scene.external_units(), 0);
    assert_eq!(scene.listed(1, 60_000).external_units(), 1);
}

#[test]
fn lists_that_are_too_long_to_compare_are_added_up() {
    let crowd = |size: u64| {
        (0..size).fold(Scene::new(), |scene, number| {
            scene
                .own(1, 10_000 + number, None)
                .listed(1, 60_000 + number)
        })
    };
    assert_eq!(crowd(100).external_units(), 100, "none of these is own");
    assert_eq!(crowd(600).external_units(), 0, "as many as own requests");
    assert_eq!(crowd(600).listed(4, 60_000).external_units(), 4);
}

#[test]
fn a_refusal_shows_external_usage() {
    assert_eq!(from_refusal(10, 4), 6);
    assert_eq!(from_refusal(3, 4), 0);
    assert_eq!(
        minimum_from_refusal(8, 4, 2),
        3,
        "two units would have left room for it"
    );
    assert_eq!(
        minimum_from_refusal(4, 4, 1),
        0,
        "own requests left no room"
    );
}

#[test]
fn a_listed_request_that_has_ended_is_told_from_those_that_run() {
    let scene = Scene::new().own(2, 30_000, Some(500)).listed(2, 29_000);
    assert_eq!(scene.ended(), [0]);
    // It runs, is not own, or ended too long ago.
    let runs = Scene::new().own(2, 30_000, None).listed(2, 29_000);
    assert!(runs.ended().is_empty());
    assert!(Scene::new().listed(2, 29_000).ended().is_empty());
    let long_over = Scene::new().own(2, 30_000, Some(2_500)).listed(2, 29_000);
    assert!(long_over.ended().is_empty());
    let both = Scene::new()
        .own(1, 10_000, None)
        .own(1, 30_000, Some(500))
        .listed(1, 9_500)
        .listed(1, 29_500);
    assert_eq!(both.ended(), [1]);
    // Upstream does not list the ended one any more, and both began at the same time.
    let alike = Scene::new()
        .own(1, 10_100, Some(500))
        .own(1, 10_000, None)
        .listed(1, 9_500);
    assert!(alike.ended().is_empty());
}
