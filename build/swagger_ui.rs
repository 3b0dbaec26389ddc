//! Extracts the files of the API page from the crate with Swagger UI. The binary embeds them.
//!
//! The crate contains a zip archive. Zip and gzip use the same compression (deflate), so each file
//! gets a gzip header without being decompressed. The binary is 1.3 MB smaller, and the browser
//! decompresses the files.

use std::{fs, path::Path};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

/// The files that the page loads.
const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// The constants of the zip format. Numbers are little-endian.
const CENTRAL_ENTRY: &[u8] = b"PK\x01\x02";
const CENTRAL_END: &[u8] = b"PK\x05\x06";
const CENTRAL_ENTRY_BYTES: usize = 46;
const LOCAL_ENTRY_BYTES: usize = 30;
const DEFLATED: u32 = 8;

/// The gzip header: deflate, no flags, no time, unknown system.
const GZIP_HEAD: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff";

/// Writes each file as `<name>.gz`.
pub fn write(out: &Path) -> std::io::Result<()> {
    for file in FILES {
        let path = format!("/dist/{file}");
        let entry = central_entries()
            .find(|entry| name(entry).ends_with(&path) && !name(entry).contains("flavors"));
        let gzip = gzip(entry.unwrap_or_else(|| panic!("Swagger UI without {file}")));
        fs::write(out.join(format!("{file}.gz")), gzip)?;
    }
    Ok(())
}

/// The archive's directory, entry by entry.
fn central_entries() -> impl Iterator<Item = &'static [u8]> {
    // The last record has the position of the directory. Only a comment can follow the record.
    let end = ARCHIVE
        .windows(4)
        .rposition(|bytes| bytes == CENTRAL_END)
        .expect("a zip archive");
    let mut rest = &ARCHIVE[number(ARCHIVE, end + 16, 4) as usize..end];
    std::iter::from_fn(move || {
        let entry = rest.starts_with(CENTRAL_ENTRY).then_some(rest)?;
        let sizes: u32 = [28, 30, 32]
            .into_iter()
            .map(|at| number(entry, at, 2))
            .sum();
        rest = &rest[CENTRAL_ENTRY_BYTES + sizes as usize..];
        Some(entry)
    })
}

fn name(entry: &[u8]) -> &str {
    let length = number(entry, 28, 2) as usize;
    std::str::from_utf8(&entry[CENTRAL_ENTRY_BYTES..CENTRAL_ENTRY_BYTES + length]).unwrap()
}

fn gzip(entry: &[u8]) -> Vec<u8> {
    assert!(
        number(entry, 10, 2) == DEFLATED,
        "{}: not deflated",
        name(entry)
    );
    let local = &ARCHIVE[number(entry, 42, 4) as usize..];
    let begin = LOCAL_ENTRY_BYTES + (number(local, 26, 2) + number(local, 28, 2)) as usize;
    let data = &local[begin..begin + number(entry, 20, 4) as usize];
    let (checksum, size) = (&entry[16..20], &entry[24..28]);
    [GZIP_HEAD, data, checksum, size].concat()
}

fn number(bytes: &[u8], at: usize, length: usize) -> u32 {
    bytes[at..at + length]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}
