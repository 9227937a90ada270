//! The systems that are part of the program, and where others come from.

use std::path::{Path, PathBuf};

use super::spec::{SpecError, System};

const FILES: &[(&str, &str)] = &[
    ("direct.toml", include_str!("../../systems/direct.toml")),
    ("haproxy.toml", include_str!("../../systems/haproxy.toml")),
    ("ssh.toml", include_str!("../../systems/ssh.toml")),
    ("adit-uring.toml", include_str!("../../systems/adit-uring.toml")),
    ("adit-uring-grpc.toml", include_str!("../../systems/adit-uring-grpc.toml")),
    ("adit-epoll.toml", include_str!("../../systems/adit-epoll.toml")),
    ("quinn-baseline.toml", include_str!("../../systems/quinn-baseline.toml")),
    ("tokio-uring-baseline.toml", include_str!("../../systems/tokio-uring-baseline.toml")),
];

/// Those of the program, in the order in which they take turns.
///
/// # Errors
/// [`SpecError`], which a test rules out.
pub fn systems() -> Result<Vec<System>, SpecError> {
    FILES.iter().map(|(name, text)| System::parse(name, text)).collect()
}

/// Reads a file, or every `.toml` file of a folder in the order of their names.
///
/// # Errors
/// The first file that cannot be read or is no system.
pub fn read(path: &Path) -> Result<Vec<System>, SpecError> {
    let io = |path: &Path| {
        let file = path.display().to_string();
        move |source| SpecError::Io { file, source }
    };
    let mut files: Vec<PathBuf> = if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(io(path))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        paths.map_err(io(path))?.into_iter().filter(toml).collect()
    } else {
        vec![path.to_owned()]
    };
    files.sort();
    let one = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(io(file))?;
        System::parse(&file.display().to_string(), &text)
    };
    files.iter().map(one).collect()
}

/// Adds systems; one of the same name takes the place of the one before it.
pub fn join(systems: &mut Vec<System>, more: Vec<System>) {
    for system in more {
        match systems.iter_mut().find(|known| known.name == system.name) {
            Some(known) => *known = system,
            None => systems.push(system),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{join, read, systems};

    #[test]
    fn every_system_of_the_program_is_sound() {
        let names: Vec<String> = systems().unwrap().into_iter().map(|system| system.name).collect();
        let expected = [
            "direct",
            "haproxy",
            "ssh",
            "adit-uring",
            "adit-uring-grpc",
            "adit-epoll",
            "quinn-baseline",
            "tokio-uring-baseline",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_folder_of_ones_own_adds_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let text = |name: &str| format!("name = \"{name}\"\nabout = \"mine\"\n[load]\nproxy = \"none\"\n");
        std::fs::write(dir.path().join("b.toml"), text("mine")).unwrap();
        std::fs::write(dir.path().join("a.toml"), text("direct")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "not a system").unwrap();
        let mut all = systems().unwrap();
        let before = all.len();
        join(&mut all, read(dir.path()).unwrap());
        assert_eq!(
            (all.len(), all[0].about.as_str(), all[before].name.as_str()),
            (before + 1, "mine", "mine")
        );
        let missing = read(&dir.path().join("none.toml")).unwrap_err().to_string();
        assert!(missing.contains("none.toml"), "{missing}");
    }
}
