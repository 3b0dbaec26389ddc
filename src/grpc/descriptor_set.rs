//! The descriptors of everything that is served: the contract, the health and reflection protocols,
//! and the details of errors.

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::FileDescriptorProto;

use crate::{
    error::{Error, Result},
    proto::DESCRIPTOR_SET,
};

/// The encoded sets of descriptors. Tools need the last one to read the details of errors.
const SETS: [&[u8]; 5] = [
    DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// The field of `google.protobuf.FileDescriptorSet` with the files.
const FILE_FIELD: u32 = 1;

/// One file.
pub(crate) struct File {
    /// The declarations. Options that prost does not know are missing.
    pub(crate) proto: FileDescriptorProto,
    /// The file as it is encoded in its set: the key of the field, the length, and the file with
    /// all options.
    pub(crate) entry: Bytes,
}

/// All files, each once. Of two with the same name the first counts.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) for a set that cannot be decoded.
pub(crate) fn files() -> Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for set in SETS {
        let mut rest = Bytes::from_static(set);
        while rest.has_remaining() {
            let file = next(&mut rest)?;
            if !files
                .iter()
                .any(|known| known.proto.name() == file.proto.name())
            {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Removes the next file from the set.
fn next(set: &mut Bytes) -> Result<File> {
    let mut rest = set.clone();
    let (field, wire_type) = decode_key(&mut rest).map_err(Error::internal)?;
    let length = decode_varint(&mut rest).map_err(Error::internal)?;
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= rest.len());
    let (FILE_FIELD, WireType::LengthDelimited, Some(bytes)) = (field, wire_type, bytes) else {
        return Err(Error::internal(
            "a descriptor set contains something other than files",
        ));
    };
    let proto = FileDescriptorProto::decode(rest.split_to(bytes)).map_err(Error::internal)?;
    let entry = set.split_to(set.len() - rest.len());
    Ok(File { proto, entry })
}
