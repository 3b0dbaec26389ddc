//! `featherwire proto`: writes the files of the contract, for tools that generate clients.

use std::{fs, io, path::Path, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{failure::Failure, output};

macro_rules! files {
    ($($path:literal,)*) => {
        [$(($path, include_str!(concat!("../../proto/", $path)))),*]
    };
}

/// The files, by their paths in `proto/`. They include Google's files that the contract imports.
const FILES: [(&str, &str); 20] = files![
    "featherwire/admin/v1/key.proto",
    "featherwire/admin/v1/key_service.proto",
    "featherwire/admin/v1/usage_service.proto",
    "featherwire/v1/account_service.proto",
    "featherwire/v1/caller_service.proto",
    "featherwire/v1/chat_content.proto",
    "featherwire/v1/chat_service.proto",
    "featherwire/v1/chat_tools.proto",
    "featherwire/v1/completion_service.proto",
    "featherwire/v1/embedding_service.proto",
    "featherwire/v1/errors.proto",
    "featherwire/v1/gateway.proto",
    "featherwire/v1/key_limits.proto",
    "featherwire/v1/key_usage.proto",
    "featherwire/v1/logprobs.proto",
    "featherwire/v1/model_service.proto",
    "featherwire/v1/text_input.proto",
    "featherwire/v1/usage.proto",
    "google/api/annotations.proto",
    "google/api/http.proto",
];

/// Writes the contract of this program as `.proto` files, from which `buf generate` or `protoc` makes
/// a client in any language. Files of the same names are replaced.
#[derive(Args, Debug)]
pub struct Proto {
    /// The folder to write to. It is created if it does not exist
    #[arg(value_name = "FOLDER", default_value = "proto")]
    folder: PathBuf,
}

impl Proto {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        for (path, text) in FILES {
            let path = self.folder.join(path);
            write(&path, text).map_err(|error| {
                Failure::failed(format_args!("cannot write {}: {error}", path.display()))
            })?;
        }
        output::print(format_args!(
            "{} files are in {}\n",
            FILES.len(),
            self.folder.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
