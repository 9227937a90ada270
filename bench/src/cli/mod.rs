//! The program's verbs: what each takes on the command line, and what it calls.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::record::{Sample, read_lines};

pub mod baseline;
pub mod compare;
pub mod forwarder;
pub mod suite;

/// Reads a file of samples; `-` is standard input.
///
/// # Errors
/// What the system says, or the first line that is no sample, with the file's name.
fn read_samples(path: &Path) -> io::Result<Vec<Sample>> {
    let samples = if path == Path::new("-") {
        read_lines(io::stdin().lock())
    } else {
        File::open(path).map_err(Into::into).and_then(|file| read_lines(BufReader::new(file)))
    };
    samples.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}
