//! How much memory this process may use: the tightest limit of its control group and the groups above it
//! (cgroups(7); memory.max of version 2, memory.limit_in_bytes of version 1).
//!
//! Deliberately not looked at: how much is free just now. A budget that moved with the neighbours' would make stopped
//! readers pay for them.

use std::fs;
use std::path::Path;

use adit_dataplane::limits::PROCESS_BUDGET_BYTES;

/// Bytes that may wait for stopped readers in this process: [`PROCESS_BUDGET_BYTES`], or half of what the control
/// group may use where that is less; the other half is everything else.
pub(crate) fn stopped_readers_budget_bytes() -> usize {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    budget(limit_bytes(Path::new("/sys/fs/cgroup"), &groups))
}

fn budget(limit_bytes: Option<u64>) -> usize {
    let half = limit_bytes.and_then(|bytes| usize::try_from(bytes / 2).ok());
    half.map_or(PROCESS_BUDGET_BYTES, |half| half.min(PROCESS_BUDGET_BYTES))
}

/// The tightest limit, where there is any. `groups` is the text of /proc/self/cgroup: `ID:CONTROLLERS:PATH` lines.
fn limit_bytes(root: &Path, groups: &str) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let (root, file) = match controllers {
                "" => (root.to_owned(), "memory.max"),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    (root.join("memory"), "memory.limit_in_bytes")
                }
                _ => return None,
            };
            // In a container the path may be the host's, which is not there: the root then is the container's own.
            let group = root.join(path.trim_start_matches('/'));
            group
                .ancestors()
                .take_while(|at| at.starts_with(&root))
                .filter_map(|at| read(&at.join(file)))
                .min()
        })
        .min()
}

/// `max`, a missing file and anything else that is not a number mean no limit.
fn read(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("kubepods/pod1/server");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_bytes(root.path(), "0::/kubepods/pod1/server\n"), None);
        fs::write(root.path().join("kubepods/pod1/memory.max"), "536870912\n").unwrap();
        assert_eq!(limit_bytes(root.path(), "0::/kubepods/pod1/server\n"), Some(512 << 20));
        fs::write(group.join("memory.max"), "268435456\n").unwrap();
        assert_eq!(limit_bytes(root.path(), "0::/kubepods/pod1/server\n"), Some(256 << 20));
    }

    #[test]
    fn version_1_and_paths_that_are_not_there_are_understood() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("memory")).unwrap();
        fs::write(root.path().join("memory/memory.limit_in_bytes"), "1073741824\n").unwrap();
        let groups = "12:cpu,cpuacct:/a\n9:memory:/not/there\n";
        assert_eq!(limit_bytes(root.path(), groups), Some(1 << 30));
        assert_eq!(limit_bytes(root.path(), "garbage\n"), None);
    }

    #[test]
    fn a_small_group_halves_and_none_leaves_the_default() {
        assert_eq!(budget(None), PROCESS_BUDGET_BYTES);
        assert_eq!(budget(Some(u64::MAX)), PROCESS_BUDGET_BYTES);
        assert_eq!(budget(Some(256 << 20)), 128 << 20);
    }
}
