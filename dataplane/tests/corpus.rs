//! Replays the corpora of `fuzz/corpus/` and mutations of them.
//!
//! A seed's name says how it must fare: `ok-`, `part-` or `no-`, then what it is. An input that once broke a parser is
//! added there under such a name. Mutations are drawn from a fixed seed, so that the same inputs run everywhere;
//! `ADIT_FUZZ_ROUNDS` (rounds over all seeds, 200 by default) and `ADIT_FUZZ_SEED` run more and others.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::{env, fs};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use targets::{ALL, Fate};

/// A corpus, by name, in a fixed order.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_fares_as_its_name_says() {
    for (target, run) in ALL {
        let mut fates = Vec::new();
        for (name, bytes) in seeds(target) {
            let expected = match name.split('-').next() {
                Some("ok") => Fate::Taken,
                Some("part") => Fate::Partial,
                Some("no") => Fate::Refused,
                _ => panic!("{target}/{name}: a seed's name begins with ok-, part- or no-"),
            };
            assert_eq!(run(&bytes), expected, "{target}/{name}");
            fates.push(expected);
        }
        assert!(fates.contains(&Fate::Taken) && fates.contains(&Fate::Refused), "{target} has too few seeds");
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut corpora: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    corpora.sort();
    assert_eq!(corpora, ALL.map(|(name, _)| name));
}

/// Changes an input in one place.
fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..7) {
        0 => input.truncate(at),
        1 => input.insert(at, rng.random()),
        2 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        3 if at < input.len() => {
            input[at] = *[0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' ', b':', b'%']
                .get(rng.random_range(0..10))
                .unwrap_or(&0)
        }
        4 if at < input.len() => {
            input.remove(at);
        }
        // A part of another seed in this place.
        5 if !other.is_empty() => {
            let start = rng.random_range(0..other.len());
            let end = rng.random_range(start..=other.len());
            input.splice(at..at, other[start..end].iter().copied());
        }
        // A part of its own, doubled.
        _ => {
            let part = input[at..input.len().min(at + 16)].to_vec();
            input.splice(at..at, part);
        }
    }
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Prints the input if the parser panics, so that it can become a seed.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} broke on \"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

#[test]
fn mutated_seeds_break_nothing() {
    let rounds = number_from_environment("ADIT_FUZZ_ROUNDS", 200);
    let seed = number_from_environment("ADIT_FUZZ_SEED", 1);
    for (target, run) in ALL {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let seeds = seeds(target);
        let mut taken = 0u64;
        for _ in 0..rounds {
            for (_, bytes) in &seeds {
                let mut input = bytes.clone();
                for _ in 0..rng.random_range(1..4) {
                    let (_, other) = &seeds[rng.random_range(0..seeds.len())];
                    mutate(&mut input, other, &mut rng);
                }
                let shown = Shown(target, &input);
                taken += u64::from(run(shown.1) == Fate::Taken);
            }
        }
        // Mutations that never pass would test the first check of a parser and nothing behind it.
        assert!(taken >= rounds / 4, "{target}: only {taken} mutations in {rounds} rounds were taken");
    }
}
