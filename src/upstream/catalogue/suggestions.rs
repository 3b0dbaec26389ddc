//! Finds ids that are similar to an unknown id, for the suggestions in errors.
//!
//! Comparing an id with 22,000 others letter by letter takes tens of milliseconds, and any caller
//! can ask for unknown ids. So an index of trigrams (three bytes in a row) finds a few candidates,
//! and only these are compared. Every step has a bound, and the results for the last ids are
//! cached.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

/// The most ids in a suggestion.
const SUGGESTIONS_MAX: usize = 3;

/// The lowest Jaro-Winkler similarity of a suggestion, from 0 to 1.
const SIMILARITY_MIN: f64 = 0.85;

/// The longest id for which there are suggestions, in bytes. Upstream's ids have at most a hundred,
/// so a longer one is not a typing error.
const ID_BYTES_MAX: usize = 128;

/// The most index entries to read for one id, starting with its rarest trigrams. Each takes a
/// nanosecond or two.
const ENTRIES_READ_MAX: usize = 64 * 1024;

/// The most ids to compare letter by letter.
const CANDIDATES_MAX: usize = 32;

/// A candidate shares at least one of this many trigrams that were looked up. Any two names share
/// one or two.
const SHARED_PART: u32 = 8;

/// The number of ids whose results are cached.
const CACHED_MAX: usize = 256;

/// The score of the same organization in the choice of candidates. An equal name has the score 1.
const SAME_ORGANIZATION: f32 = 0.25;

type Trigram = [u8; 3];

/// An index of names, which are the parts of ids after the last slash. An id is represented by its
/// position in the list of the owner.
#[derive(Debug, Default)]
pub(super) struct SimilarIds {
    /// Sorted.
    trigrams: Vec<Trigram>,
    /// For each trigram, the end of its positions in `positions`.
    ends: Vec<u32>,
    positions: Vec<u32>,
    /// The number of trigrams of the name at each position.
    sizes: Vec<u16>,
    cache: Cache,
}

/// How much work a search took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Index entries that were read.
    pub(super) read: usize,
    /// Ids that were compared letter by letter.
    pub(super) compared: usize,
}

impl SimilarIds {
    /// An index of `ids` in lower case, each with its position.
    pub(super) fn new<'a>(ids: impl Iterator<Item = (u32, &'a str)>) -> Self {
        let mut pairs: Vec<(Trigram, u32)> = Vec::new();
        let mut sizes: Vec<u16> = Vec::new();
        for (position, id) in ids {
            let trigrams = trigrams(name(id));
            sizes.resize(sizes.len().max(position as usize + 1), 0);
            if let Some(size) = sizes.get_mut(position as usize) {
                *size = u16::try_from(trigrams.len()).unwrap_or(u16::MAX);
            }
            pairs.extend(trigrams.into_iter().map(|trigram| (trigram, position)));
        }
        pairs.sort_unstable();
        let mut near = Self {
            sizes,
            ..Self::default()
        };
        near.positions.reserve_exact(pairs.len());
        for same in pairs.chunk_by(|(a, _), (b, _)| a == b) {
            near.trigrams
                .extend(same.first().map(|(trigram, _)| *trigram));
            near.positions
                .extend(same.iter().map(|(_, position)| *position));
            near.ends
                .push(u32::try_from(near.positions.len()).unwrap_or(u32::MAX));
        }
        near
    }

    /// The positions of the ids that are most similar to `id`, the most similar first. `id_at`
    /// returns the id at a position, in lower case.
    pub(super) fn find<'a>(&self, id: &str, id_at: impl Fn(u32) -> &'a str) -> (Vec<u32>, Work) {
        // First, because even lower case costs time for a long id.
        if id.len() > ID_BYTES_MAX {
            return <_>::default();
        }
        let id = &*id.to_lowercase();
        if let Some(found) = self.cache.get(id) {
            return (found, Work::default());
        }
        let (candidates, read) = self.candidates(id, &id_at);
        let compared = candidates.len();
        let mut near: Vec<((f64, f64), u32)> = candidates
            .into_iter()
            .map(|position| (similarity(id, id_at(position)), position))
            .filter(|((similarity, _), _)| *similarity >= SIMILARITY_MIN)
            .collect();
        near.sort_by(|((a, a_whole), a_at), ((b, b_whole), b_at)| {
            b.total_cmp(a)
                .then(b_whole.total_cmp(a_whole))
                .then(a_at.cmp(b_at))
        });
        let found: Vec<u32> = near
            .into_iter()
            .take(SUGGESTIONS_MAX)
            .map(|(_, position)| position)
            .collect();
        self.cache.put(id, &found);
        (found, Work { read, compared })
    }

    /// The positions whose names share the most trigrams with the name of `id`, and the number of
    /// index entries that were read.
    fn candidates<'a>(&self, id: &str, id_at: impl Fn(u32) -> &'a str) -> (Vec<u32>, usize) {
        let trigrams = trigrams(name(id));
        // At most as many as the id has bytes.
        let asked = f32::from(u16::try_from(trigrams.len()).unwrap_or(u16::MAX));
        let mut lists: Vec<&[u32]> = trigrams
            .into_iter()
            .filter_map(|trigram| self.with(trigram))
            .collect();
        lists.sort_unstable_by_key(|list| list.len());
        let mut shared = vec![0_u16; self.sizes.len()];
        let mut touched = Vec::new();
        let (mut read, mut looked_for, mut unread) = (0, 0_u32, 0_u16);
        for list in lists {
            if read + list.len() > ENTRIES_READ_MAX {
                unread += 1;
                continue;
            }
            read += list.len();
            looked_for += 1;
            for position in list {
                let Some(count) = shared.get_mut(*position as usize) else {
                    continue;
                };
                if *count == 0 {
                    touched.push(*position);
                }
                *count = count.saturating_add(1);
            }
        }
        let organization = id.rfind('/').and_then(|slash| id.get(..=slash));
        let score = |position: u32| {
            let number =
                |list: &[u16]| f32::from(list.get(position as usize).copied().unwrap_or_default());
            let size = number(&self.sizes);
            // The share of common trigrams among those that were not looked up is assumed to be the
            // same as among the others.
            let shared = (number(&shared) * asked / (asked - f32::from(unread))).min(size);
            let names = 2.0 * shared / (asked + size);
            let is_same =
                organization.is_some_and(|organization| id_at(position).starts_with(organization));
            if is_same {
                names + SAME_ORGANIZATION
            } else {
                names
            }
        };
        let shares_enough = |position: &u32| {
            let count = shared.get(*position as usize).copied().unwrap_or_default();
            u32::from(count) * SHARED_PART >= looked_for
        };
        let mut scored: Vec<(f32, u32)> = touched
            .into_iter()
            .filter(shares_enough)
            .map(|position| (score(position), position))
            .collect();
        let by_score =
            |(a, a_at): &(f32, u32), (b, b_at): &(f32, u32)| b.total_cmp(a).then(a_at.cmp(b_at));
        if scored.len() > CANDIDATES_MAX {
            scored.select_nth_unstable_by(CANDIDATES_MAX, by_score);
            scored.truncate(CANDIDATES_MAX);
        }
        (
            scored.into_iter().map(|(_, position)| position).collect(),
            read,
        )
    }

    /// The positions of the names that contain `trigram`.
    fn with(&self, trigram: Trigram) -> Option<&[u32]> {
        let place = self.trigrams.binary_search(&trigram).ok()?;
        let begin = place
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.positions
            .get(begin as usize..*self.ends.get(place)? as usize)
    }
}

fn name(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

/// The trigrams of `name`, each once. Spaces around the name make its ends count, and give the
/// shortest name some trigrams.
fn trigrams(name: &str) -> Vec<Trigram> {
    let bytes: Vec<u8> = [b"  ", name.as_bytes(), b" "].concat();
    let mut trigrams: Vec<Trigram> = bytes
        .windows(3)
        .filter_map(|three| three.try_into().ok())
        .collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

/// The similarity of two ids in lower case: the higher one of the whole ids and of their names, and
/// that of the whole ids.
fn similarity(a: &str, b: &str) -> (f64, f64) {
    if a == b {
        return (1.0, 1.0);
    }
    let whole = strsim::jaro_winkler(a, b);
    (whole.max(strsim::jaro_winkler(name(a), name(b))), whole)
}

/// The results for the last ids. Each id has one slot, by a hash that callers cannot predict.
#[derive(Debug)]
struct Cache {
    hasher: RandomState,
    slots: Mutex<Vec<Option<Found>>>,
}

#[derive(Debug)]
struct Found {
    id: Box<str>,
    near: Box<[u32]>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: Mutex::default(),
        }
    }
}

impl Cache {
    fn get(&self, id: &str) -> Option<Vec<u32>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.get(self.slot(id))?.as_ref()?;
        (*found.id == *id).then(|| found.near.to_vec())
    }

    fn put(&self, id: &str, near: &[u32]) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.resize_with(CACHED_MAX, || None);
        if let Some(slot) = slots.get_mut(self.slot(id)) {
            *slot = Some(Found {
                id: id.into(),
                near: near.into(),
            });
        }
    }

    fn slot(&self, id: &str) -> usize {
        // The remainder fits into any integer type.
        usize::try_from(self.hasher.hash_one(id) % CACHED_MAX as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

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
            "0.6b", "1.7b", "3b", "7b", "8b", "9b", "12b", "14b", "24b", "27b", "32b", "70b",
            "72b", "235b",
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
}
