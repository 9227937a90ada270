//! Fuzzing on the stable toolchain: corpora that every test run replays, and mutations of them drawn from a seed.
//!
//! A package lists its parsers as [`Target`]s and the folder of their corpora in a [`Suite`]; its tests call the
//! suite's methods. A seed's name says how it must fare: `ok-`, `part-` or `no-`, then what it is. An input that once
//! broke a parser is added under such a name.
//!
//! An input that breaks a parser is made smaller as long as it breaks it in the same place, written to a file, and
//! printed with that file's path.
//!
//! Deliberately absent: coverage guidance, which wants instrumented code. In its place the inputs that a parser took
//! are mutated further, so that several changes come together in one input.

#![forbid(unsafe_code)]

mod found;
mod minimise;
mod mutate;

use std::path::Path;
use std::{env, fs};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use found::{Watched, break_it};
use mutate::Mutator;

/// Rounds over all seeds of a corpus, unless `ADIT_FUZZ_ROUNDS` says otherwise.
const ROUNDS_DEFAULT: u64 = 200;
/// Inputs that were taken and are mutated further, for each target. A new one replaces one by chance.
const KEPT_MAX: usize = 64;

/// How an input fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is valid.
    Taken,
    /// It is the beginning of something valid.
    Partial,
    /// It is neither.
    Refused,
}

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its corpus.
    pub name: &'static str,
    /// Runs it, and panics where a property does not hold.
    pub run: fn(&[u8]) -> Fate,
    /// Its dictionary: what chance would seldom write, such as keywords and the markers between parts.
    pub tokens: &'static [&'static str],
}

/// A package's targets.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// The package's `fuzz/corpus`: a folder for each target, a file for each seed.
    pub corpora: &'static str,
    /// Ordered by name.
    pub targets: &'static [Target],
}

impl Suite {
    /// A target's seeds: names and bytes, in a fixed order.
    fn seeds(&self, target: &Target) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(self.corpora).join(target.name);
        let mut seeds: Vec<_> =
            names(&folder).into_iter().map(|name| (name.clone(), read(&folder.join(name)))).collect();
        seeds.sort();
        seeds
    }

    /// Checks that every seed fares as its name says, and that every target has seeds that are taken and refused.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn replay(&self) {
        for target in self.targets {
            let mut fates = Vec::new();
            for (name, bytes) in self.seeds(target) {
                let expected = match name.split('-').next() {
                    Some("ok") => Fate::Taken,
                    Some("part") => Fate::Partial,
                    Some("no") => Fate::Refused,
                    _ => panic!("{}/{name}: a seed's name begins with ok-, part- or no-", target.name),
                };
                assert_eq!((target.run)(&bytes), expected, "{}/{name}", target.name);
                fates.push(expected);
            }
            let enough = fates.contains(&Fate::Taken) && fates.contains(&Fate::Refused);
            assert!(enough, "{} has too few seeds", target.name);
        }
    }

    /// Checks that there is a target for every corpus, and a corpus for every target.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn match_corpora(&self) {
        let targets: Vec<_> = self.targets.iter().map(|target| target.name).collect();
        assert_eq!(names(Path::new(self.corpora)), targets);
    }

    /// Runs mutations of every target's seeds: `ADIT_FUZZ_ROUNDS` over all of them, drawn from `ADIT_FUZZ_SEED`, and
    /// of the one target `ADIT_FUZZ_TARGET` where that is given.
    ///
    /// # Panics
    /// On the first input that breaks its parser, and where so few mutations are taken that the parser's first check
    /// is all that was tested.
    pub fn mutate(&self) {
        let rounds = number_from_environment("ADIT_FUZZ_ROUNDS", ROUNDS_DEFAULT);
        let seed = number_from_environment("ADIT_FUZZ_SEED", 1);
        let only = env::var("ADIT_FUZZ_TARGET").ok();
        let watched = Watched::start();
        for target in
            self.targets.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name))
        {
            let taken = self.mutate_target(target, rounds, seed, &watched);
            assert!(
                taken >= rounds / 4,
                "{}: only {taken} mutations in {rounds} rounds were taken",
                target.name
            );
        }
    }

    /// How many of a target's mutations were taken.
    fn mutate_target(&self, target: &Target, rounds: u64, seed: u64, watched: &Watched) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mutator = Mutator { tokens: target.tokens };
        let seeds: Vec<_> = self.seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut taken = 0;
        for _ in 0..rounds {
            for bytes in &seeds {
                // Half of the time from the seed itself, so that every seed keeps its share.
                let further = !kept.is_empty() && rng.random();
                let mut input =
                    if further { kept[rng.random_range(0..kept.len())].clone() } else { bytes.clone() };
                for _ in 0..rng.random_range(1..4) {
                    let other = &seeds[rng.random_range(0..seeds.len())];
                    mutator.mutate(&mut input, other, &mut rng);
                }
                if break_it(target, &input, watched) == Fate::Taken {
                    taken += 1;
                    if kept.len() < KEPT_MAX {
                        kept.push(input);
                    } else {
                        kept[rng.random_range(0..KEPT_MAX)] = input;
                    }
                }
            }
        }
        taken
    }
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
