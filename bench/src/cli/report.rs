//! `adit-bench report`: one HTML file, and `.hgrm` files, of samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::read_samples;
use crate::record::{Latency, Sample};
use crate::report::{file_name, hgrm, html};

/// Makes one self-contained HTML file of samples: charts, tables, errors, stamps.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// JSON lines of `adit-bench load --json` or `adit-bench suite`. `-` is standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the report goes.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Also writes each latency of each system in HdrHistogram's percentile format, in microseconds, into this folder.
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
    /// What stands at the top.
    #[arg(long, default_value = "adit-bench report")]
    title: String,
}

impl Report {
    /// Writes the files. Errors in samples are in the report and not this verb's failure.
    ///
    /// # Errors
    /// A file that cannot be read or written, by its name, and files without any sample.
    pub fn run(&self) -> io::Result<ExitCode> {
        let mut samples = Vec::new();
        for path in &self.files {
            samples.extend(read_samples(path)?);
        }
        if samples.is_empty() {
            return Err(io::Error::other("there is no sample in these files: was anything measured?"));
        }
        write(&self.out, &html(&self.title, &samples))?;
        if let Some(folder) = &self.hgrm {
            fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
            for (name, latency) in latencies(&samples) {
                write(&folder.join(name), &hgrm(&latency))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All rounds' latencies by the name of their file. Settings are part of a name where samples differ in nothing else.
fn latencies(samples: &[Sample]) -> BTreeMap<String, Latency> {
    let mut all = BTreeMap::<String, Latency>::new();
    let settings_of =
        |sample: &Sample| (sample.network.clone(), sample.workload.clone(), sample.settings.clone());
    let groups: BTreeSet<_> = samples.iter().map(settings_of).collect();
    for sample in samples {
        let alike =
            groups.iter().filter(|group| (&group.0, &group.1) == (&sample.network, &sample.workload)).count();
        let settings: Vec<String> =
            sample.settings.iter().map(|(name, value)| format!("{name}-{value}")).collect();
        let settings = if alike > 1 { settings.join("_") } else { String::new() };
        for (name, latency) in &sample.latencies {
            let parts = [&sample.system, &sample.network, &sample.workload, &settings, name];
            all.entry(file_name(parts.map(String::as_str))).or_default().add(latency);
        }
    }
    all
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
