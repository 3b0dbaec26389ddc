//! The ids of keys that are not in the database: `env-1`, `env-2`, … and `everyone`.
//!
//! Such a key has a fixed id, which is made from its name, and tells the name again: a UUID of
//! version 8 whose last bytes are a number.

use uuid::Uuid;

/// The name of all callers of a gateway without keys.
const EVERYONE: &str = "everyone";

/// What the name of a key of `FEATHERWIRE_API_KEYS` begins with.
const ENV: &str = "env-";

/// The first bytes of such an id: "feather" in ASCII, with the version and the variant.
const PREFIX: u128 = 0x6665_6174_6865_8072_8000_0000_0000_0000;

/// The number of `everyone`, of `env-1`, and of a name that has none.
const NUMBER_OF_EVERYONE: u128 = 0;
const NUMBER_OF_OTHERS: u128 = 0xffff_ffff;

/// The fixed id of the key with this name, which is not in the database.
pub fn fixed_id(name: &str) -> Uuid {
    let number = match name.strip_prefix(ENV) {
        Some(number) => number.parse().map_or(NUMBER_OF_OTHERS, u32::into),
        None if name == EVERYONE => NUMBER_OF_EVERYONE,
        None => NUMBER_OF_OTHERS,
    };
    Uuid::from_u128(PREFIX | number)
}

/// The name of the key with this fixed id. `None` for the id of a key in the database.
pub fn fixed_name(id: Uuid) -> Option<String> {
    let number = id.as_u128() ^ PREFIX;
    match number {
        NUMBER_OF_EVERYONE => Some(EVERYONE.to_owned()),
        NUMBER_OF_OTHERS => Some("gateway".to_owned()),
        _ if number < NUMBER_OF_OTHERS => Some(format!("{ENV}{number}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_id_tells_its_name() {
        for name in ["everyone", "env-1", "env-2", "env-4000000000", "gateway"] {
            assert_eq!(fixed_name(fixed_id(name)).as_deref(), Some(name));
        }
        assert_eq!(fixed_id("env-1").get_version_num(), 8);
        assert_eq!(fixed_name(Uuid::now_v7()), None);
        assert_eq!(fixed_name(Uuid::nil()), None);
    }
}
