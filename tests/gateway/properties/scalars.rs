//! Generates numbers and strings, including unusual ones, and the lengths of lists.

use std::ops::Range;

use proptest::{collection::vec, prelude::*};

/// The number of elements of a list.
pub const LIST: Range<usize> = 0..3;

pub fn character() -> BoxedStrategy<char> {
    let special = [
        '\0',
        '\n',
        '\r',
        '"',
        '\\',
        '/',
        '\u{7f}',
        '\u{2028}',
        '\u{feff}',
        '\u{ffff}',
        '🦀',
        '\u{10ffff}',
    ];
    prop_oneof![
        3 => (0x20_u8..0x7f).prop_map(char::from),
        2 => any::<char>(),
        1 => prop::sample::select(special.to_vec()),
    ]
    .boxed()
}

pub fn string() -> BoxedStrategy<String> {
    vec(character(), 0..6)
        .prop_map(|letters| letters.into_iter().collect())
        .boxed()
}

pub fn int32() -> BoxedStrategy<i32> {
    prop_oneof![any::<i32>(), -1..3, Just(i32::MIN), Just(i32::MAX)].boxed()
}

pub fn int64() -> BoxedStrategy<i64> {
    prop_oneof![
        any::<i64>(),
        -1_i64..3,
        Just(i64::MIN),
        Just(i64::MAX),
        Just((1 << 53) + 1)
    ]
    .boxed()
}

pub fn double() -> BoxedStrategy<f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let edges = [
        -0.0,
        1.0,
        1e-12,
        0.1,
        5e-324,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        9_007_199_254_740_994.0,
        1e22,
    ];
    // Like sampling parameters and log probabilities: of moderate size, with 53 significant bits.
    let moderate = -20.0..20.0_f64;
    let all = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO;
    prop_oneof![2 => moderate, 2 => all, 1 => prop::sample::select(edges.to_vec())].boxed()
}
