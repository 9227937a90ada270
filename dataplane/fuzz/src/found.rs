//! Runs one input under watch, and reports the one that breaks its parser: by a panic, by taking too long, or by never
//! coming back.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use crate::minimise::minimise;
use crate::{Fate, Target};

/// What the parser may take for one input, at most. A machine that stands still is given two more attempts.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);
/// After which a parser is taken not to come back at all.
const HANG_TIME: Duration = Duration::from_secs(60);
/// Most bytes of an input that are printed; its file has all of it.
const SHOWN_BYTES_MAX: usize = 512;

/// Where a parser panicked, and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Panicked {
    place: String,
    message: String,
}

thread_local! {
    /// Present while this thread runs a parser: what its panic would otherwise print goes here.
    static PANICKED: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// The thread that ends the process when a parser does not come back; it ends with this.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The input that is being run, its target and its number.
    now: Arc<Mutex<(u64, &'static str, Vec<u8>)>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let now = Arc::new(Mutex::new((0, "", Vec::new())));
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&now);
        let thread = thread::spawn(move || {
            let mut last = None;
            while stopped.recv_timeout(HANG_TIME) == Err(RecvTimeoutError::Timeout) {
                let (number, target, input) = watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if last == Some(number) {
                    eprintln!("{target} has not come back for {HANG_TIME:?}. {}", written(target, &input));
                    process::abort();
                }
                last = Some(number);
            }
        });
        Self { now, stop: Some(stop), thread: Some(thread) }
    }

    fn begin(&self, target: &Target, input: &[u8]) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, name, bytes) = &mut *now;
        (*number, *name) = (*number + 1, target.name);
        bytes.clear();
        bytes.extend_from_slice(input);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// Runs an input.
///
/// # Panics
/// Where the parser does, or takes too long, with the path of the input.
pub(crate) fn break_it(target: &Target, input: &[u8], watched: &Watched) -> Fate {
    watched.begin(target, input);
    let start = Instant::now();
    let fate = match attempt(target, input) {
        Ok(fate) => fate,
        Err(panicked) => {
            let same = |shorter: &[u8]| attempt(target, shorter).is_err_and(|p| p.place == panicked.place);
            let smallest = minimise(input, same);
            let Panicked { place, message } = panicked;
            panic!("{} broke at {place}: {message}\n{}", target.name, written(target.name, &smallest));
        }
    };
    let slow = |start: Instant| start.elapsed() > INPUT_TIME_MAX;
    if slow(start) && (0..2).all(|_| slow(again(target, input))) {
        panic!("{} takes more than {INPUT_TIME_MAX:?}. {}", target.name, written(target.name, input));
    }
    fate
}

/// Runs an input once more; when that began.
fn again(target: &Target, input: &[u8]) -> Instant {
    let start = Instant::now();
    let _ = attempt(target, input);
    start
}

/// Runs an input; a panic is kept from printing itself.
fn attempt(target: &Target, input: &[u8]) -> Result<Fate, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
    PANICKED.set(Some(Panicked::default()));
    let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let panicked = PANICKED.take().unwrap_or_default();
    result.map_err(|_| panicked)
}

/// Notes a panic of a parser that this thread runs. False for any other.
fn note(info: &PanicHookInfo<'_>) -> bool {
    PANICKED.with_borrow_mut(|panicked| {
        let Some(panicked) = panicked else { return false };
        panicked.place = info.location().map(ToString::to_string).unwrap_or_default();
        panicked.message = info.payload_as_str().unwrap_or_default().to_owned();
        true
    })
}

/// Writes an input to a file: into `ADIT_FUZZ_FOUND`, or else a folder for temporary files. Where it is, and what it
/// looks like.
fn written(target: &str, input: &[u8]) -> String {
    let folder =
        env::var_os("ADIT_FUZZ_FOUND").map_or_else(|| env::temp_dir().join("adit-fuzz"), PathBuf::from);
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder.join(format!("{target}-{:016x}", hasher.finish()));
    let shown = input[..input.len().min(SHOWN_BYTES_MAX)].escape_ascii();
    let bytes = input.len();
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)) {
        Ok(()) => format!("The input is in {} ({bytes} bytes): \"{shown}\"", path.display()),
        Err(error) => {
            format!("The input cannot be written to {} ({error}); {bytes} bytes: \"{shown}\"", path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what begins with `len` and a byte for the length of the rest, and cannot do more than 200.
    fn breaks_at_200(input: &[u8]) -> Fate {
        let Some((&len, rest)) = input.strip_prefix(b"len").and_then(<[u8]>::split_first) else {
            return Fate::Refused;
        };
        assert!(len < 200, "a length of {len}");
        if usize::from(len) == rest.len() { Fate::Taken } else { Fate::Partial }
    }

    /// The path that a message names.
    fn path_in(message: &str) -> &str {
        message.split_once("The input is in ").and_then(|(_, rest)| rest.split(' ').next()).unwrap()
    }

    const TARGET: Target = Target { name: "planted", run: breaks_at_200, tokens: &[] };

    #[test]
    fn an_input_that_breaks_is_made_small_written_and_named() {
        let watched = Watched::start();
        assert_eq!(break_it(&TARGET, b"len\x02ab", &watched), Fate::Taken);
        let broken = panic::catch_unwind(AssertUnwindSafe(|| {
            break_it(&TARGET, b"len\xffand much more that has nothing to do with it", &watched)
        }));
        let message = broken.unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("planted broke at ") && message.contains("a length of 255"), "{message}");
        let path = path_in(&message);
        assert_eq!(fs::read(path).unwrap(), b"len\xff");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_parser_that_takes_too_long_is_named() {
        fn slow(_: &[u8]) -> Fate {
            let start = Instant::now();
            while start.elapsed() <= INPUT_TIME_MAX {
                std::hint::spin_loop();
            }
            Fate::Taken
        }
        let target = Target { name: "slow", run: slow, tokens: &[] };
        let watched = Watched::start();
        let broken = panic::catch_unwind(AssertUnwindSafe(|| break_it(&target, b"anything", &watched)));
        let message = broken.unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("slow takes more than 1s"), "{message}");
        fs::remove_file(path_in(&message)).unwrap();
    }
}
