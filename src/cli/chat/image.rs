//! Images of a prompt: files that become `data:` URIs.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::proto::v1::{ContentPart, ImageUrl};

/// The largest image. In base64 it still fits into the 32 MiB that the gateway takes.
const IMAGE_BYTES_MAX: u64 = 20 * 1024 * 1024;

/// The content of a prompt with images.
pub(super) fn parts(prompt: String, images: Vec<ContentPart>) -> Vec<ContentPart> {
    let text = ContentPart {
        r#type: Some("text".to_owned()),
        text: Some(prompt),
        ..ContentPart::default()
    };
    images.into_iter().chain([text]).collect()
}

/// Reads all images.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<ContentPart>, String> {
    paths.iter().map(|path| read(path)).collect()
}

/// Reads an image.
///
/// # Errors
/// A sentence: it cannot be read, is too large, or is no image of a kind that models take.
pub(super) fn read(path: &Path) -> Result<ContentPart, String> {
    let name = path.display();
    let cannot = |error| format!("cannot read the image {name}: {error}");
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(IMAGE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > IMAGE_BYTES_MAX {
        let mebibytes = IMAGE_BYTES_MAX / 1024 / 1024;
        return Err(format!(
            "the image {name} is larger than {mebibytes} MiB: make it smaller"
        ));
    }
    let kind = media_type(&bytes).ok_or_else(|| {
        format!("{name} is not an image that models take: use a PNG, JPEG, GIF or WebP file")
    })?;
    let url = format!("data:{kind};base64,{}", BASE64_STANDARD.encode(&bytes));
    Ok(ContentPart {
        r#type: Some("image_url".to_owned()),
        image_url: Some(Box::new(ImageUrl {
            url: Some(url),
            ..ImageUrl::default()
        })),
        ..ContentPart::default()
    })
}

/// The media type by the first bytes of the content. A name can be wrong.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}
