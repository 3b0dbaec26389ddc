//! The properties ("laws") of the fuzz targets, checked with their corpus and with random changes
//! of it. The inputs are the same in every run. `cargo fuzz` searches further, see `fuzz/`.

mod laws;

use std::path::Path;

use fastrand::Rng;

/// The number of generated inputs for each law.
const INPUTS: usize = 2000;

/// The largest number of changes made to an input.
const CHANGES_MAX: usize = 4;

/// The longest generated input: the time of a law grows with its input.
const BYTES_MAX: usize = 2048;

#[test]
fn a_stream_has_the_events_of_the_standard_in_pieces_of_any_size() {
    hold("sse", laws::sse);
}

#[test]
fn a_request_is_encoded_as_it_was_decoded_or_refused_with_a_short_error() {
    hold("request", laws::request);
}

#[test]
fn a_chunk_is_encoded_as_it_was_decoded() {
    hold("chunk", laws::chunk);
}

#[test]
fn an_upstream_error_fits_into_every_door() {
    hold("upstream_error", laws::upstream_error);
}

fn hold(target: &str, law: fn(&[u8])) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        run_law(name, input, law);
    }
    let mut rng = Rng::with_seed(0x5eed);
    for number in 0..INPUTS {
        run_law(
            &format!("made-up input {number}"),
            &mutated(&corpus, &mut rng),
            law,
        );
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "{}: the corpus is empty",
        folder.display()
    );
    files
        .into_iter()
        .map(|file| (file.display().to_string(), std::fs::read(file).unwrap()))
        .collect()
}

/// Checks a law for an input. If the law fails, prints the input (the beginning of a long one) in a
/// form that `printf` converts to bytes.
fn run_law(name: &str, input: &[u8], law: fn(&[u8])) {
    struct Tell<'a>(&'a str, &'a [u8]);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "{}: \"{}\"",
                    self.0,
                    self.1[..self.1.len().min(BYTES_MAX)].escape_ascii()
                );
            }
        }
    }
    let _tell = Tell(name, input);
    law(input);
}

/// An input of the corpus, with random changes.
fn mutated(corpus: &[(String, Vec<u8>)], rng: &mut Rng) -> Vec<u8> {
    let mut input = one(corpus, rng).to_vec();
    for _ in 0..rng.usize(1..=CHANGES_MAX) {
        change(&mut input, corpus, rng);
    }
    input.truncate(BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], rng: &mut Rng) {
    let part = part(input, rng);
    match rng.u8(..8) {
        0 => input[part].iter_mut().for_each(|byte| *byte = rng.u8(..)),
        1 => {
            if let Some(byte) = input.get_mut(part.start) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        2 => drop(input.drain(part)),
        3 => input.truncate(part.end),
        4 => drop(input.splice(part.start..part.start, input[part.clone()].to_vec())),
        5 => {
            let other = one(corpus, rng);
            let piece = other[self::part(other, rng)].to_vec();
            input.splice(part, piece);
        }
        6 => input.insert(part.start, rng.u8(..)),
        _ => {
            let word = WORDS[rng.usize(..WORDS.len())];
            input.splice(part.start..part.start, word.bytes());
        }
    }
}

/// Text that random bytes rarely contain.
const WORDS: &[&str] = &[
    "null",
    "true",
    "-0",
    "1e999",
    "-0.0",
    "5e-324",
    "9007199254740993",
    "2147483648",
    "\"\\ud800\"",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "\"error\":",
    "\"code\":",
    "\"x\":null,",
    "data",
    "data:",
    "data: ",
    "\r\n",
    "\r",
    "\n\n",
    ":",
    "\u{feff}",
    "\u{1f980}",
    "\0",
    " ",
];

fn one<'a>(corpus: &'a [(String, Vec<u8>)], rng: &mut Rng) -> &'a [u8] {
    &corpus[rng.usize(..corpus.len())].1
}

/// The range of a random part of an input. Small parts are more frequent.
fn part(input: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=input.len());
    let length_max = [1, 8, 64, input.len()][rng.usize(..4)].min(input.len() - start);
    start..start + rng.usize(..=length_max)
}
