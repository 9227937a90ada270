//! JSON lines: one sample each.

use std::io::{self, BufRead, Write};

use super::{SCHEMA, Sample};

/// Why a file of samples cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The file itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One line is not a sample.
    #[error("line {line}: {source} (expected one sample of `adit-bench load --json` a line)")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// One line is of another version.
    #[error("line {line} has schema {found}, this adit-bench reads {SCHEMA}: measure again")]
    Schema {
        /// Counted from 1.
        line: usize,
        /// What it says of itself.
        found: u64,
    },
}

/// Writes one sample and the end of its line.
///
/// # Errors
/// What the writer says.
pub fn write_line(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    serde_json::to_writer(&mut *out, sample)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Reads samples to the end. Empty lines are skipped.
///
/// # Errors
/// The first line that is no sample, or that is one of another schema.
pub fn read_lines(input: impl BufRead) -> Result<Vec<Sample>, LinesError> {
    let mut samples = Vec::new();
    for (index, text) in input.lines().enumerate() {
        let (text, line) = (text?, index + 1);
        if text.trim().is_empty() {
            continue;
        }
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|source| LinesError::Line { line, source })?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(SCHEMA) => return Err(LinesError::Schema { line, found }),
            _ => {}
        }
        samples.push(serde_json::from_value(value).map_err(|source| LinesError::Line { line, source })?);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::{LinesError, read_lines};

    #[test]
    fn a_bad_line_is_named() {
        let error = read_lines("\n{\"schema\":1}\n".as_bytes()).unwrap_err();
        assert!(matches!(error, LinesError::Line { line: 2, .. }), "{error}");
        let error = read_lines("{\"schema\":7}".as_bytes()).unwrap_err();
        assert!(matches!(error, LinesError::Schema { line: 1, found: 7 }), "{error}");
        assert!(read_lines("nonsense".as_bytes()).is_err());
    }
}
