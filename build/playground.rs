//! Compresses the files of the playground, which `web/build` has made. The binary embeds them.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};

/// Where the files are.
pub const FOLDER: &str = "web/dist";

/// The files that are large enough for it.
const FILES: [&str; 2] = ["app.js", "app.css"];

/// Writes each file as `playground-<name>.gz`.
pub fn write(out: &Path) -> std::io::Result<()> {
    for file in FILES {
        let bytes = fs::read(Path::new(FOLDER).join(file))?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&bytes)?;
        fs::write(out.join(format!("playground-{file}.gz")), gzip.finish()?)?;
    }
    Ok(())
}
