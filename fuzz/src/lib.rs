//! The properties ("laws") that the fuzz targets check. The tests of the gateway check the same laws
//! with the same corpus.

#[path = "../../tests/gateway/fuzzing/laws/mod.rs"]
pub mod laws;

/// The law for the memory that decoding takes. It counts allocations, so it has its own program.
#[path = "../../tests/allocations/law.rs"]
pub mod law;
