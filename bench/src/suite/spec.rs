//! A system under test as a file: what to prepare, what to start on which side, when it is ready, and how the load
//! gets through it. `docs/SUITE.md` explains it with an example.
//!
//! Deliberately absent: starting anything. A [`System`] is checked when it is read, so that a mistake is said with its
//! file and field before the first sample, not after ten minutes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::places;

/// How long a process may take to be ready, where its file does not say.
pub const READY_WITHIN: Duration = Duration::from_secs(10);

/// One system under test.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its name in results: lower-case letters, digits and hyphens.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Programs without which it is left out.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Command lines to run to their end, in order, before the files are written; once per network.
    #[serde(default)]
    pub prepare: Vec<Step>,
    /// Files to write.
    #[serde(default)]
    pub files: Vec<ConfigFile>,
    /// What to start, in order; each is ready before the next is started.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// How the load gets through it.
    pub load: Load,
    /// What to write into each sample's stamp.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

/// A program that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// On the search path or in `/usr/sbin`, or a path.
    pub program: String,
    /// What brings it: a Debian package, or a command.
    pub package: String,
}

/// One command line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// From `{dir}`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Beside the load.
    Near,
    /// Beside the target.
    Far,
}

/// One process; all of them are watched while the load runs, with the children they have by then.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// For messages, and for its log file.
    pub name: String,
    /// Where it runs.
    pub side: Side,
    /// Program and arguments; no shell. It stays in the foreground.
    pub command: Vec<String>,
    /// When it is ready.
    pub ready: Ready,
    /// How long that may take.
    #[serde(default = "ready_within", deserialize_with = "duration")]
    pub ready_within: Duration,
}

/// When a process is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Ready {
    /// This `HOST:PORT` accepts connections.
    Tcp(String),
    /// This Unix socket accepts connections.
    Unix(String),
    /// A GET of this `HOST:PORT/PATH` is answered with 200.
    Http(String),
    /// This text is in what it wrote to standard output or standard error.
    Log(String),
}

/// How the load gets through.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// `--proxy` of `adit-bench load`.
    pub proxy: String,
    /// Further flags of it: `--cacert`, `--mode`.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// Something about the system that belongs beside its figures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Its name in [`crate::record::Stamp::more`].
    pub name: String,
    /// The word behind a text in a process's log.
    pub log: Option<LogFact>,
    /// A value of a process's metrics, read when the load has ended.
    pub metric: Option<MetricFact>,
}

/// The word behind a text in a process's log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFact {
    /// Whose log.
    pub process: String,
    /// The text; its first occurrence counts.
    pub after: String,
}

/// A value of metrics in Prometheus' text format.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricFact {
    /// Whose, which tells on which side to ask.
    pub process: String,
    /// `HOST:PORT/PATH`.
    pub url: String,
    /// The metric's name. Several values of it are added where `per` is given; otherwise the smallest counts.
    pub value: String,
    /// The metric to divide by.
    pub per: Option<String>,
}

/// Why a file is no system.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// Which.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is not TOML, or has other fields than a system has.
    #[error("{file}: {source}")]
    Syntax {
        /// Which.
        file: String,
        /// With the place.
        source: Box<toml::de::Error>,
    },
    /// A field says something that cannot be.
    #[error("{file}: {field}: {why}")]
    Field {
        /// Which file.
        file: String,
        /// Which field of it.
        field: String,
        /// What to change.
        why: String,
    },
}

const fn ready_within() -> Duration {
    READY_WITHIN
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error} (write 500ms, 10s, 1m)")))
}

impl System {
    /// Reads and checks one.
    ///
    /// # Errors
    /// [`SpecError`], with the file and the field.
    pub fn parse(file: &str, text: &str) -> Result<Self, SpecError> {
        let system: Self = toml::from_str(text)
            .map_err(|source| SpecError::Syntax { file: file.to_owned(), source: Box::new(source) })?;
        system.check().map_err(|(field, why)| SpecError::Field { file: file.to_owned(), field, why })?;
        Ok(system)
    }

    /// Every text in which placeholders may stand, with the field's name.
    pub fn texts(&self) -> Vec<(String, &str)> {
        let mut texts = Vec::new();
        for need in &self.needs {
            texts.push(("needs.program".to_owned(), need.program.as_str()));
        }
        for step in &self.prepare {
            texts.extend(step.command.iter().map(|word| ("prepare.command".to_owned(), word.as_str())));
        }
        for file in &self.files {
            texts.push((format!("files {:?}: text", file.path), file.text.as_str()));
        }
        for process in &self.processes {
            let field = format!("processes {:?}", process.name);
            texts.extend(process.command.iter().map(|word| (format!("{field}: command"), word.as_str())));
            let (Ready::Tcp(ready) | Ready::Unix(ready) | Ready::Http(ready) | Ready::Log(ready)) =
                &process.ready;
            texts.push((format!("{field}: ready"), ready.as_str()));
        }
        texts.push(("load.proxy".to_owned(), self.load.proxy.as_str()));
        texts.extend(self.load.flags.iter().map(|flag| ("load.flags".to_owned(), flag.as_str())));
        for fact in &self.facts {
            texts.extend(
                fact.metric.iter().map(|metric| (format!("facts {:?}: url", fact.name), metric.url.as_str())),
            );
        }
        texts
    }

    fn check(&self) -> Result<(), (String, String)> {
        check_name("name", &self.name)?;
        for (field, text) in self.texts() {
            if let Some(unknown) = places::unknown(text) {
                return Err((field, unknown.to_string()));
            }
        }
        for step in &self.prepare {
            check_command("prepare.command", &step.command)?;
            // The target's port is as new for each sample as the others.
            let early = |word: &String| places::ports(word).next().is_some() || word.contains("{target}");
            if let Some(word) = step.command.iter().find(|word| early(word)) {
                return Err((
                    "prepare.command".to_owned(),
                    format!("{word} is not known yet: it is new for each sample"),
                ));
            }
        }
        for file in &self.files {
            let path = Path::new(&file.path);
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            if file.path.is_empty() || !path.components().all(plain) {
                return Err((
                    "files.path".to_owned(),
                    format!("{:?} must be a path inside {{dir}}", file.path),
                ));
            }
        }
        let mut names = BTreeSet::new();
        for process in &self.processes {
            check_name("processes.name", &process.name)?;
            check_command(&format!("processes {:?}: command", process.name), &process.command)?;
            if !names.insert(process.name.as_str()) {
                return Err(("processes.name".to_owned(), format!("{:?} is there twice", process.name)));
            }
        }
        self.facts.iter().try_for_each(|fact| check_fact(fact, &names))
    }
}

fn check_name(field: &str, name: &str) -> Result<(), (String, String)> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.chars().all(good) {
        return Ok(());
    }
    Err((field.to_owned(), format!("{name:?} must be of lower-case letters, digits and hyphens")))
}

fn check_command(field: &str, command: &[String]) -> Result<(), (String, String)> {
    match command.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err((field.to_owned(), "names no program".to_owned())),
    }
}

fn check_fact(fact: &Fact, processes: &BTreeSet<&str>) -> Result<(), (String, String)> {
    let field = || format!("facts {:?}", fact.name);
    let process = match (&fact.log, &fact.metric) {
        (Some(log), None) => &log.process,
        (None, Some(metric)) => &metric.process,
        _ => return Err((field(), "needs either log or metric".to_owned())),
    };
    if processes.contains(process.as_str()) {
        return Ok(());
    }
    Err((field(), format!("no process has the name {process:?}")))
}

#[cfg(test)]
mod tests {
    use super::System;

    const GOOD: &str = r#"
name = "hop"
about = "a hop"
[[files]]
path = "a.cfg"
text = "{near}"
[[processes]]
name = "hop"
side = "near"
command = ["hop", "{port:front}"]
ready = { tcp = "{near}:{port:front}" }
ready_within = "1m"
[load]
proxy = "forward:{near}:{port:front}"
[[facts]]
name = "driver"
log = { process = "hop", after = "driver=" }
"#;

    #[test]
    fn a_sound_file_is_taken() {
        let system = System::parse("hop.toml", GOOD).unwrap();
        assert_eq!(system.processes[0].ready_within.as_secs(), 60);
        assert_eq!(system.load.flags, [""; 0]);
    }

    #[test]
    fn a_mistake_is_named_with_its_file_and_field() {
        let cases = [
            ("about = \"a hop\"", "abuot = \"a hop\"", "unknown field `abuot`"),
            ("about = \"a hop\"", "", "missing field `about`"),
            ("\"hop\"\nabout", "\"Hop 1\"\nabout", "name: \"Hop 1\" must be of lower-case"),
            ("side = \"near\"", "side = \"left\"", "unknown variant `left`"),
            ("tcp = ", "udp = ", "unknown variant `udp`"),
            ("\"1m\"", "\"soon\"", "write 500ms, 10s, 1m"),
            ("[\"hop\", \"{port:front}\"]", "[]", "processes \"hop\": command: names no program"),
            ("text = \"{near}\"", "text = \"{nera}\"", "files \"a.cfg\": text: {nera} is unknown"),
            (
                "path = \"a.cfg\"",
                "path = \"../a.cfg\"",
                "files.path: \"../a.cfg\" must be a path inside {dir}",
            ),
            ("process = \"hop\"", "process = \"hip\"", "facts \"driver\": no process has the name \"hip\""),
            (
                "log = { process = \"hop\", after = \"driver=\" }",
                "",
                "facts \"driver\": needs either log or metric",
            ),
            ("[load]", "[[load]]", "load"),
            ("name = \"hop\"\nabout", "name = \nabout", "hop.toml"),
        ];
        for (good, bad, said) in cases {
            assert!(GOOD.contains(good), "{good}");
            let error = System::parse("hop.toml", &GOOD.replacen(good, bad, 1)).unwrap_err().to_string();
            assert!(error.starts_with("hop.toml: ") && error.contains(said), "{bad}: {error}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_sound() {
        let text = include_str!("../../../docs/SUITE.md");
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let system = System::parse("SUITE.md", example).unwrap();
        assert_eq!((system.name.as_str(), system.processes.len()), ("konnectivity", 2));
    }

    #[test]
    fn a_port_is_not_known_when_a_system_is_prepared() {
        let step = "[[prepare]]\ncommand = [\"make-key\", \"{port:front}\"]\n[[processes]]";
        let error =
            System::parse("hop.toml", &GOOD.replacen("[[processes]]", step, 1)).unwrap_err().to_string();
        assert!(error.contains("prepare.command: {port:front} is not known yet"), "{error}");
    }

    #[test]
    fn two_processes_of_one_name_would_share_a_log() {
        let start = GOOD.find("[[processes]]").unwrap();
        let end = GOOD.find("[load]").unwrap();
        let twice = format!("{}{}{}", &GOOD[..end], &GOOD[start..end], &GOOD[end..]);
        let error = System::parse("hop.toml", &twice).unwrap_err().to_string();
        assert!(error.contains("\"hop\" is there twice"), "{error}");
    }
}
