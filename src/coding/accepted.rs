//! The coding that a caller accepts for an answer.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, header};

use super::{COMPRESSED_MIN, Coding};

/// What a caller accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    coding: Option<Coding>,
    /// The caller accepts nothing that is not compressed.
    refuses_identity: bool,
}

/// How much a caller wants a coding.
#[derive(Clone, Copy)]
struct Weight {
    /// In thousandths. 0 refuses it.
    quality: u16,
    /// Its place in the header.
    place: usize,
}

impl Accepted {
    /// What the header `accept-encoding` says (RFC 9110, section 12.5.3). Of codings that the caller
    /// wants equally it takes zstd, which is faster and smaller than gzip. zstd must be named.
    pub fn of_http(headers: &HeaderMap) -> Self {
        Self::read(headers, &header::ACCEPT_ENCODING, false)
    }

    /// What the header `name` of Connect says: of equal codings, the caller wants the first
    /// most.
    pub fn of_connect(headers: &HeaderMap, name: &HeaderName) -> Self {
        Self::read(headers, name, true)
    }

    /// A caller who accepts `coding`, if the gateway answers with it.
    pub fn only(coding: Option<Coding>) -> Self {
        Self {
            coding: coding.filter(|coding| *coding != Coding::Deflate),
            refuses_identity: false,
        }
    }

    fn read(headers: &HeaderMap, name: &HeaderName, is_ordered: bool) -> Self {
        let (mut gzip, mut zstd, mut identity, mut any) = (None, None, None, None);
        let values = headers.get_all(name).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        for (place, item) in values.flat_map(|value| value.split(',')).enumerate() {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = match name {
                "*" => &mut any,
                _ if name.eq_ignore_ascii_case("gzip") => &mut gzip,
                _ if name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
                _ if name.eq_ignore_ascii_case("zstd") => &mut zstd,
                _ if name.eq_ignore_ascii_case("identity") => &mut identity,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='));
            let quality = quality.map_or(1000, thousandths);
            weight.get_or_insert(Weight { quality, place });
        }
        // `*` may refuse what is not compressed, but it does not prefer it.
        let identity = identity.or(any.filter(|any: &Weight| any.quality == 0));
        // Of equals the last one wins. `*` stands for gzip only: it is sent by programs that know
        // no more, and many of them cannot read zstd.
        let of_both = [(Coding::Gzip, gzip.or(any)), (Coding::Zstd, zstd)];
        let known = of_both
            .into_iter()
            .filter_map(|(coding, weight)| Some((coding, weight?)))
            .filter(|(_, weight)| weight.quality > 0);
        let rank = |weight: Weight| {
            let place = is_ordered.then_some(Reverse(weight.place));
            (weight.quality, place)
        };
        let best = known.max_by_key(|(_, weight)| rank(*weight));
        let is_wanted = |weight| identity.is_none_or(|identity| rank(identity) <= rank(weight));
        Self {
            coding: best.and_then(|(coding, weight)| is_wanted(weight).then_some(coding)),
            refuses_identity: identity.is_some_and(|identity| identity.quality == 0),
        }
    }

    /// The coding for an answer of `bytes` bytes. `None` to send it as it is: it is small, or the
    /// caller accepts no coding of the gateway.
    pub fn coding(self, bytes: usize) -> Option<Coding> {
        let is_worth_it = self.refuses_identity || bytes as u64 >= COMPRESSED_MIN;
        self.coding.filter(|_| is_worth_it)
    }
}

/// A weight such as `0.8`. What is not a number refuses the coding.
fn thousandths(quality: &str) -> u16 {
    let quality: f32 = quality.trim().parse().unwrap_or_default();
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        let value = HeaderValue::from_static(value);
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)])
    }

    fn of_http(value: &'static str) -> Option<Coding> {
        Accepted::of_http(&headers(value)).coding(1 << 20)
    }

    #[test]
    fn the_coding_with_the_largest_weight_is_taken() {
        const GZIP: Option<Coding> = Some(Coding::Gzip);
        const ZSTD: Option<Coding> = Some(Coding::Zstd);
        for (value, coding) in [
            ("gzip", GZIP),
            ("GZIP", GZIP),
            ("br, x-gzip", GZIP),
            ("deflate, gzip;q=0.5", GZIP),
            ("gzip;q=0.002, zstd;q=0.001", GZIP),
            ("gzip; q=1, zstd ; Q=0.9", GZIP),
            ("*;q=0.5, gzip", GZIP),
            ("*, zstd;q=0", GZIP),
            ("zstd", ZSTD),
            ("gzip, deflate, br, zstd", ZSTD),
            ("identity, zstd", ZSTD),
            ("*", GZIP),
            ("gzip;q=0.1, *;q=0.2", GZIP),
            ("*, zstd", ZSTD),
            ("identity;q=0.5, zstd;q=0.6", ZSTD),
            ("", None),
            ("br", None),
            ("identity", None),
            ("gzip;q=0", None),
            ("gzip; q=0.0, zstd;q=0, *", None),
            ("*;q=0", None),
            ("*;q=0.1, gzip;q=0", None),
            ("gzipped, deflate", None),
            ("gzip;q=high", None),
            ("gzip;q=NaN", None),
            ("gzip;q=0.8, identity", None),
        ] {
            assert_eq!(of_http(value), coding, "{value}");
        }
        assert_eq!(Accepted::of_http(&HeaderMap::new()), Accepted::default());
        let mut two = headers("br");
        two.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Accepted::of_http(&two).coding(1 << 20), GZIP);
    }

    #[test]
    fn in_connect_the_first_of_equals_is_taken() {
        for (value, coding) in [
            ("gzip, zstd", Some(Coding::Gzip)),
            ("br,zstd,gzip", Some(Coding::Zstd)),
            ("gzip, identity", Some(Coding::Gzip)),
            ("identity", None),
            ("deflate", None),
        ] {
            let accepted = Accepted::of_connect(&headers(value), &header::ACCEPT_ENCODING);
            assert_eq!(accepted.coding(1 << 20), coding, "{value}");
        }
        assert_eq!(Accepted::only(Some(Coding::Deflate)), Accepted::default());
    }

    #[test]
    fn a_small_answer_is_compressed_only_for_callers_who_accept_nothing_else() {
        for (value, small) in [
            ("gzip", None),
            ("gzip, *;q=0", Some(Coding::Gzip)),
            ("zstd, identity;q=0", Some(Coding::Zstd)),
            ("identity;q=0.1, gzip, *;q=0", None),
            ("identity;q=0", None),
        ] {
            let accepted = Accepted::of_http(&headers(value));
            assert_eq!(accepted.coding(1), small, "{value}");
            assert_eq!(accepted.coding(COMPRESSED_MIN as usize - 1), small);
        }
        let gzip = Accepted::of_http(&headers("gzip"));
        assert_eq!(gzip.coding(COMPRESSED_MIN as usize), Some(Coding::Gzip));
    }
}
