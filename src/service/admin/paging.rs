//! The pages of lists.

use crate::{
    error::{Error, Result},
    keys::Digest,
};

const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1000;

/// The number of elements in a page, by the `page_size` of a request.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a negative number.
pub(super) fn size(page_size: i32) -> Result<usize> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => Err(Error::invalid("page_size", "must not be negative")),
    }
}

/// The token of the page after the element at `place`, of a list with this `filter`.
pub(super) fn token(place: &str, filter: &str) -> String {
    format!("{place}.{}", fingerprint(filter))
}

/// The place in a token. `None` for the first page.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what is no token of a list with this filter.
pub(super) fn place<T>(
    token: &str,
    filter: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token
        .split_once('.')
        .filter(|(_, of)| *of == fingerprint(filter))
        .and_then(|(place, _)| parse(place));
    place.map(Some).ok_or_else(|| {
        let problem = "not a token of this list: send nextPageToken (gRPC: next_page_token) \
                       unchanged, with the same filter";
        Error::invalid("page_token", problem)
    })
}

/// What tells the lists of one filter from those of others.
fn fingerprint(filter: &str) -> String {
    let [a, b, c, d, ..] = *Digest::of(filter.as_bytes()).as_bytes();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_list() {
        let number = |token: &str, filter| place(token, filter, |text| text.parse::<i64>().ok());
        let token = token("5", "a");
        assert_eq!(number(&token, "a").unwrap(), Some(5));
        assert_eq!(number("", "a").unwrap(), None);
        for (bad, filter) in [(token.as_str(), "b"), ("5", "a"), ("x.y", "a"), (".", "a")] {
            assert_eq!(number(bad, filter).unwrap_err().param(), Some("page_token"));
        }
        assert_eq!((size(0).unwrap(), size(5000).unwrap()), (100, 1000));
        assert_eq!(size(-1).unwrap_err().param(), Some("page_size"));
    }
}
