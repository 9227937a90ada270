//! `adit-bench compare` and `adit-bench report` as people call them, over samples that were never measured.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made-up samples")]

mod compare;
mod html;
mod made_up;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use adit_bench::record::{Sample, write_line};

fn adit_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adit-bench")).args(arguments).output().unwrap()
}

fn write(path: &Path, samples: &[Sample]) -> String {
    let mut file = File::create(path).unwrap();
    for sample in samples {
        write_line(&mut file, sample).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

/// Standard output and standard error, for a failing test to show.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
