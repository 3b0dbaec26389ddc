use std::sync::LazyLock;

use super::{cache::CACHED_MAX, *};

/// As many as upstream has, and as much alike as upstream's are: sizes, versions and tunes of
/// the same few models.
fn catalogue() -> Vec<String> {
    let bases = [
        "meta-llama-3.1",
        "llama-3.3",
        "qwen2.5",
        "qwen3-coder",
        "mistral-nemo",
        "gemma-2",
        "phi-4",
        "glm-4.6",
    ];
    let sizes = [
        "0.6b", "1.7b", "3b", "7b", "8b", "9b", "12b", "14b", "24b", "27b", "32b", "70b", "72b",
        "235b",
    ];
    let tunes = [
        "",
        "-instruct",
        "-chat",
        "-abliterated",
        "-lorablated-v2",
        "-thinking-2507",
        "-instruct-awq",
    ];
    let mut ids = Vec::new();
    for n in 0..29 {
        for base in bases {
            for size in sizes {
                for tune in tunes {
                    ids.push(format!("maker-{}/{base}-{size}{tune}", (n * 7919) % 1000));
                }
            }
        }
    }
    ids.truncate(22_013 - 280);
    ids.extend((0..277).map(|n| format!("other/model-{n}")));
    ids.extend([
        "gpt-4o".to_owned(),
        "a/1".to_owned(),
        "größe/übung-7b".to_owned(),
    ]);
    assert_eq!(ids.len(), 22_013);
    ids.sort();
    ids
}

struct Ids {
    ids: Vec<String>,
    similar: SimilarIds,
}

/// Made once: that takes a while without optimization.
static IDS: LazyLock<Ids> = LazyLock::new(Ids::new);

impl Ids {
    fn new() -> Self {
        let ids = catalogue();
        let similar = SimilarIds::new((0..).zip(ids.iter().map(String::as_str)));
        Self { ids, similar }
    }

    fn find(&self, id: &str) -> (Vec<&str>, Work) {
        let id_at = |position: u32| self.ids[position as usize].as_str();
        let (found, work) = self.similar.find(id, id_at);
        (found.into_iter().map(id_at).collect(), work)
    }
}

#[test]
fn what_was_meant_is_suggested_or_what_is_at_least_as_near() {
    let ids = &*IDS;
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let meant = ids.ids[random.usize(..ids.ids.len())].clone();
        let mut slips = vec![
            meant.clone(),
            name(&meant).to_owned(),
            format!("another/{}", name(&meant)),
        ];
        for tune in ["-instruct", "-v2", "-awq"] {
            slips.extend(meant.strip_suffix(tune).map(str::to_owned));
        }
        let letters: Vec<char> = meant.chars().collect();
        if letters.len() > 12 {
            let at = random.usize(1..letters.len() - 1);
            let (mut dropped, mut doubled, mut swapped, mut wrong) = (
                letters.clone(),
                letters.clone(),
                letters.clone(),
                letters.clone(),
            );
            dropped.remove(at);
            doubled.insert(at, letters[at]);
            swapped.swap(at, at + 1);
            wrong[at] = 'x';
            slips.extend([dropped, doubled, swapped, wrong].map(String::from_iter));
        }
        for slip in slips {
            let (found, _) = ids.find(&slip);
            let due = similarity(&slip, &meant).0;
            assert!(due >= SIMILARITY_MIN, "{slip} is no slip of {meant}");
            let is_good = |found: &&str| similarity(&slip, found).0 >= due;
            let is_all_good = found.len() == SUGGESTIONS_MAX && found.iter().all(is_good);
            assert!(
                found.contains(&meant.as_str()) || is_all_good,
                "{slip}, meant {meant} ({due}): {found:?}"
            );
        }
    }
}

#[test]
fn the_same_id_comes_first_and_the_same_organization_before_others() {
    let ids = &*IDS;
    let meant = "maker-919/qwen2.5-72b-instruct";
    assert_eq!(ids.find(meant).0[0], meant);
    assert_eq!(ids.find("maker-919/qwen2.5-72b-instrct").0[0], meant);
    assert_eq!(
        ids.find("maker-919/qwen2.5-72b").0[0],
        "maker-919/qwen2.5-72b"
    );
    for (slip, meant) in [
        ("gpt-4", "gpt-4o"),
        ("gpt4o", "gpt-4o"),
        ("b/1", "a/1"),
        ("größe/übung-7", "größe/übung-7b"),
    ] {
        assert!(
            ids.find(slip).0.contains(&meant),
            "{slip}: {:?}",
            ids.find(slip)
        );
    }
    assert_eq!(ids.find("zzz/qqqqq").0, [""; 0]);
}

#[test]
fn a_miss_looks_at_a_few_and_the_same_miss_at_none() {
    // Its own, for others would take the slots of what it keeps.
    let ids = Ids::new();
    let mut all = Work::default();
    for n in 0..100 {
        // Of the commonest trigrams, as long as it may be.
        let miss = format!(
            "maker-{n}/{}",
            "qwen2.5-7b-instruct-llama-3.1-8b-instruct-".repeat(9)
        );
        let miss = miss.get(..ID_BYTES_MAX).unwrap();
        let (_, work) = ids.find(miss);
        assert!(
            work.compared <= CANDIDATES_MAX && work.read <= ENTRIES_READ_MAX,
            "{work:?}"
        );
        all = Work {
            read: all.read + work.read,
            compared: all.compared + work.compared,
        };
        assert_eq!(ids.find(miss).1, Work::default(), "kept");
    }
    assert!(all.compared > 0 && all.read > 0);
    assert!(
        all.compared < ids.ids.len(),
        "all of them compare less than one look at the whole list would"
    );
}

#[test]
fn what_is_too_long_is_not_looked_for() {
    let ids = &*IDS;
    for letters in [ID_BYTES_MAX + 1, 250, 10 * 1024] {
        let (found, work) = ids.find(
            format!("maker-1/{}", "qwen2.5".repeat(letters))
                .get(..letters)
                .unwrap(),
        );
        assert_eq!((found.len(), work), (0, Work::default()), "{letters}");
    }
}

#[test]
fn what_is_kept_has_a_bound() {
    let ids = &*IDS;
    for n in 0..3 * CACHED_MAX {
        ids.find(&format!("maker-1/qwen-{n}"));
    }
    assert_eq!(ids.similar.cache.slots.lock().unwrap().len(), CACHED_MAX);
}
