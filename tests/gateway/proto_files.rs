//! `featherwire proto`, run as a user runs it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::support::program::{Folder, featherwire, run};

/// The `.proto` files of `folder` below `within`, by their paths in `folder`.
fn files(folder: &Path, within: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder.join(within)).unwrap() {
        let entry = entry.unwrap();
        let path = within.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(folder, &path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn the_contract_is_written_whole_and_replaces_an_older_one() {
    let folder = Folder::new();
    let within = folder.0.join("some/proto");
    let old = within.join("featherwire/v1/chat_service.proto");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "an older contract").unwrap();

    let ended = run(&mut featherwire(&["proto", within.to_str().unwrap()])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);

    let contract = files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"),
        Path::new(""),
    );
    let written = files(&within, Path::new(""));
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        contract.keys().collect::<Vec<_>>()
    );
    assert!(written == contract, "a file has another content");
    let count = format!("{} files", contract.len());
    assert!(ended.out.starts_with(&count), "{}", ended.out);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::with_dotenv("");
    // A file is where the folder should be.
    let file = folder.0.join(".env");
    let ended = run(&mut featherwire(&["proto", file.to_str().unwrap()])).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(
        ended.err.contains("cannot write") && ended.err.contains(".env"),
        "{}",
        ended.err
    );
}
