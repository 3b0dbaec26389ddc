//! Finds ids that are similar to an unknown id, for the suggestions in errors.
//!
//! Comparing an id with 22,000 others letter by letter takes tens of milliseconds, and any caller
//! can ask for unknown ids. So an index of trigrams (three bytes in a row) finds a few candidates,
//! and only these are compared. Every step has a bound, and the results for the last ids are
//! cached.

mod cache;

use self::cache::Cache;

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

#[cfg(test)]
mod tests;
