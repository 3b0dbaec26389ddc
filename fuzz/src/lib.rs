//! The laws that the fuzz targets hold the gateway to are those of its tests, which run them over
//! the same corpus.

#[path = "../../tests/gateway/fuzzing/laws/mod.rs"]
pub mod laws;

/// The law of what decoding takes, which counts allocations: the program that tests it has nothing
/// else in it.
#[path = "../../tests/allocations/law.rs"]
pub mod law;
