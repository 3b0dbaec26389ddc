//! From the contract in `proto/` to Rust: message types, gRPC services, the JSON codec, the limits
//! of both codecs, the descriptor set that reflection serves, and the OpenAPI document with what
//! its page needs. Needs no `protoc` and no network.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "what is wrong with the contract shall stop the build, and only the build"
)]

use std::{env, error::Error, fs, path::PathBuf};

use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use protox::prost::Message;

#[path = "build/comments.rs"]
mod comments;
#[path = "build/json_codec.rs"]
mod json_codec;
#[path = "build/json_members.rs"]
mod json_members;
#[path = "build/json_rules.rs"]
mod json_rules;
#[path = "build/json_unions.rs"]
mod json_unions;
#[path = "build/layouts.rs"]
mod layouts;
#[path = "build/limits.rs"]
mod limits;
#[path = "build/names.rs"]
mod names;
#[path = "build/openapi/mod.rs"]
mod openapi;
#[path = "src/proto/range.rs"]
mod range;
#[path = "build/request_rules.rs"]
mod request_rules;
#[path = "build/swagger_ui.rs"]
mod swagger_ui;

const PACKAGE: &str = "featherwire.v1";
const SERVICES: [&str; 5] = [
    "chat_service",
    "completion_service",
    "embedding_service",
    "model_service",
    "account_service",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src/proto/range.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(SERVICES.map(|service| format!("featherwire/v1/{service}.proto")))?;
    // No service imports it: errors travel beside the messages.
    compiler.open_file("featherwire/v1/errors.proto")?;
    let mut contract = compiler.file_descriptor_set();
    let mut set = published(&contract).encode_to_vec();
    // Our own files keep the `google.api.http` options when the compiler encodes them; prost's
    // types would drop them. All of them are opened: what is only imported counts as an import.
    let is_own = |file: &&FileDescriptorProto| !file.name().starts_with("google/");
    compiler.open_files(
        contract
            .file
            .iter()
            .filter(is_own)
            .map(FileDescriptorProto::name),
    )?;
    set.extend(compiler.include_imports(false).encode_file_descriptor_set());
    fs::write(out.join("descriptor_set.bin"), set)?;

    contract.file.retain(|file| file.package() == PACKAGE);
    fs::write(out.join("json_codec.rs"), json_codec::generate(&contract))?;
    fs::write(
        out.join("bounds.rs"),
        limits::generate(&contract) + &layouts::generate(&contract),
    )?;
    let version = env::var("CARGO_PKG_VERSION")?;
    let document = openapi::generate(&contract, &compiler.descriptor_pool(), &version);
    fs::write(out.join("openapi.json"), document.to_string())?;
    // For people: a test compares it with the committed `docs/openapi.json`.
    let readable = serde_json::to_string_pretty(&document)? + "\n";
    fs::write(out.join("openapi.readable.json"), readable)?;
    swagger_ui::write(&out)?;
    // The gateway itself has to move what others shall use no more.
    let messages = contract
        .file
        .iter_mut()
        .flat_map(|file| &mut file.message_type);
    for options in messages
        .flat_map(|message| &mut message.field)
        .filter_map(|field| field.options.as_mut())
    {
        options.deprecated = None;
    }
    let mut prost = prost_build::Config::new();
    prost.btree_map(["."]);
    for path in layouts::BOXED {
        prost.boxed(format!(".{PACKAGE}.{path}"));
    }
    let services = tonic_prost_build::configure().codec_path("crate::proto::codec::Codec");
    services.compile_fds_with_config(contract, prost)?;
    Ok(())
}

/// Google's files of the set as generated code of other languages has them, that is without
/// comments and without the JSON names that follow from the fields' own. A pool of descriptors that
/// has them already refuses any that differ.
fn published(set: &FileDescriptorSet) -> FileDescriptorSet {
    let is_googles = |file: &&FileDescriptorProto| file.name().starts_with("google/");
    let mut file: Vec<_> = set.file.iter().filter(is_googles).cloned().collect();
    for file in &mut file {
        file.source_code_info = None;
        file.extension
            .iter_mut()
            .for_each(|field| field.json_name = None);
        file.message_type.iter_mut().for_each(without_json_names);
    }
    FileDescriptorSet { file }
}

fn without_json_names(message: &mut DescriptorProto) {
    message
        .field
        .iter_mut()
        .chain(&mut message.extension)
        .for_each(|field| field.json_name = None);
    message.nested_type.iter_mut().for_each(without_json_names);
}
