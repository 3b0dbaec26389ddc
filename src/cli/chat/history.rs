//! The file with the prompts of earlier sessions. Prompts are private: only its owner may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The largest number of prompts that are remembered.
pub(super) const PROMPTS_MAX: usize = 1000;

/// The largest prompt that is remembered. A text that was pasted is not typed again.
const PROMPT_BYTES_MAX: usize = 16 * 1024;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The file. Each of its lines is a prompt, as a string in JSON.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
}

impl History {
    /// Opens the file, and returns its prompts, oldest first.
    ///
    /// # Errors
    /// The file cannot be read or created.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<String>)> {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        if let Some(directory) = directory {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(directory)?;
        }
        let mut text = Vec::new();
        let file = private(&path, OpenOptions::new().read(true).append(true))?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let all: Vec<_> = text
            .split(|byte| *byte == b'\n')
            // A line of another program, or one that was cut, is left out.
            .filter_map(|line| serde_json::from_slice::<String>(line).ok())
            .collect();
        let forgotten = all.len().saturating_sub(PROMPTS_MAX);
        let prompts: Vec<_> = all.into_iter().skip(forgotten).collect();
        // Most sessions only append.
        if forgotten > PROMPTS_MAX {
            replace(&path, &prompts)?;
        }
        Ok((Self { path }, prompts))
    }

    /// Remembers a prompt. One that begins with a space is not remembered, as in shells.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add(&self, prompt: &str) -> io::Result<()> {
        if !is_remembered(prompt) {
            return Ok(());
        }
        let line = line(prompt)?;
        let mut file = private(&self.path, OpenOptions::new().append(true))?;
        // One write: another session may append at the same time.
        file.write_all(line.as_bytes())
    }
}

/// Whether a prompt is remembered.
pub(super) fn is_remembered(prompt: &str) -> bool {
    !prompt.starts_with(' ') && prompt.len() <= PROMPT_BYTES_MAX
}

/// Opens a file that only its owner may read, and creates it if it does not exist.
fn private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let options = options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(owner)?;
    }
    Ok(file)
}

/// Writes the file again, with these prompts only.
fn replace(path: &Path, prompts: &[String]) -> io::Result<()> {
    let lines: io::Result<String> = prompts.iter().map(|prompt| line(prompt)).collect();
    let other = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = private(&other, OpenOptions::new().write(true).truncate(true))?;
    file.write_all(lines?.as_bytes())?;
    fs::rename(other, path)
}

fn line(prompt: &str) -> io::Result<String> {
    Ok(serde_json::to_string(prompt)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_keeps_the_last_prompts_and_only_its_owner_reads_it() {
        let name = format!("featherwire-history-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let path = folder.join("deep/chat-history");
        let (history, prompts) = History::open(path.clone()).unwrap();
        assert!(prompts.is_empty());
        history.add("two\nlines").unwrap();
        history.add(" a secret").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(path.parent().unwrap()), 0o700);
            fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            let _ = History::open(path.clone()).unwrap();
            assert_eq!(mode(&path), 0o600);
        }
        fs::write(&path, fs::read_to_string(&path).unwrap() + "no string\n").unwrap();
        for number in 0..2 * PROMPTS_MAX {
            history.add(&number.to_string()).unwrap();
        }
        let (_, prompts) = History::open(path.clone()).unwrap();
        let first = PROMPTS_MAX.to_string();
        assert_eq!((prompts.len(), &prompts[0]), (PROMPTS_MAX, &first));
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, PROMPTS_MAX, "what is too old is deleted");
        fs::remove_dir_all(folder).unwrap();
    }
}
