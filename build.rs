//! Generates Rust code from the contract in `proto/`: message types, gRPC services, the JSON codec,
//! and the limits of both codecs. It also generates the descriptor set for reflection, and the
//! OpenAPI document with the files of its page, and compresses the playground. It needs neither
//! `protoc`, nor Node, nor the network.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "an error in the contract must stop the build"
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
#[path = "build/playground.rs"]
mod playground;
#[path = "src/proto/range.rs"]
mod range;
#[path = "build/request_rules.rs"]
mod request_rules;
#[path = "build/swagger_ui.rs"]
mod swagger_ui;

const PACKAGE: &str = "featherwire.v1";
const SERVICES: [&str; 8] = [
    "v1/chat_service",
    "v1/completion_service",
    "v1/embedding_service",
    "v1/model_service",
    "v1/account_service",
    "v1/caller_service",
    "admin/v1/key_service",
    "admin/v1/usage_service",
];

/// The files whose messages have no JSON of their own: REST writes and reads them in the JSON of
/// protobuf, by their descriptors.
const IN_JSON_OF_PROTOBUF: [&str; 6] = [
    "featherwire/v1/key_limits.proto",
    "featherwire/v1/key_usage.proto",
    "featherwire/v1/caller_service.proto",
    "featherwire/admin/v1/key.proto",
    "featherwire/admin/v1/key_service.proto",
    "featherwire/admin/v1/usage_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src/proto/range.rs");
    println!("cargo:rerun-if-changed={}", playground::FOLDER);
    // A hash of the program in the program, by which debuggers and profilers find its symbols.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,--build-id=sha1");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(SERVICES.map(|service| format!("featherwire/{service}.proto")))?;
    // No service imports this file, because errors are sent as gRPC statuses.
    compiler.open_file("featherwire/v1/errors.proto")?;
    let mut contract = compiler.file_descriptor_set();
    let mut set = published(&contract).encode_to_vec();
    // The compiler keeps the `google.api.http` options when it encodes files that are opened, and
    // prost's types would drop them. Therefore every file is opened, not only imported.
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

    let is_in_json_of_protobuf =
        |file: &FileDescriptorProto| IN_JSON_OF_PROTOBUF.contains(&file.name());
    let mut in_json_of_protobuf = contract.clone();
    in_json_of_protobuf.file.retain(is_in_json_of_protobuf);
    let mut others = contract.clone();
    // prost looks at the messages of their fields, and makes nothing of Google's.
    others
        .file
        .retain(|file| is_in_json_of_protobuf(file) || file.package() == "google.protobuf");
    contract
        .file
        .retain(|file| file.package() == PACKAGE && !is_in_json_of_protobuf(file));
    fs::write(out.join("json_codec.rs"), json_codec::generate(&contract))?;
    fs::write(
        out.join("bounds.rs"),
        limits::generate(&contract) + &layouts::generate(&contract),
    )?;
    let version = env::var("CARGO_PKG_VERSION")?;
    let document = openapi::generate(
        &contract,
        &in_json_of_protobuf,
        &compiler.descriptor_pool(),
        &version,
    );
    fs::write(out.join("openapi.json"), document.to_string())?;
    // A readable version. A test compares it with the committed `docs/openapi.json`.
    let readable = serde_json::to_string_pretty(&document)? + "\n";
    fs::write(out.join("openapi.readable.json"), readable)?;
    swagger_ui::write(&out)?;
    playground::write(&out)?;
    // The gateway itself must pass on deprecated fields.
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
    // Their messages are small, and limited by their number of bytes alone.
    let out = out.join("json_of_protobuf");
    fs::create_dir_all(&out)?;
    let mut prost = prost_build::Config::new();
    prost.btree_map(["."]);
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds_with_config(others, prost)?;
    Ok(())
}

/// Google's files of the set as they are in the generated code of other languages: without
/// comments, and without JSON names that follow from the field names. A descriptor pool that
/// already contains these files refuses different ones.
fn published(set: &FileDescriptorSet) -> FileDescriptorSet {
    let is_google_file = |file: &&FileDescriptorProto| file.name().starts_with("google/");
    let mut file: Vec<_> = set.file.iter().filter(is_google_file).cloned().collect();
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
