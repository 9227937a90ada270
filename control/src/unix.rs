//! The frontend's Unix socket: mode 0770 as under Konnectivity's umask of 0007, a stale file replaced only when
//! nobody answers on it, and removed again at the end unless somebody else has put another in its place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Owner and group may connect.
const MODE: u32 = 0o770;
/// Connections that may wait to be accepted; the kernel's `net.core.somaxconn` may say less.
const BACKLOG: i32 = 4096;

/// A socket file of ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: whether the file is still the one we made.
    identity: (u64, u64),
}

/// Binds and listens.
///
/// # Errors
/// The text to show: it names the flag and the remedy.
pub(crate) fn listen(path: &Path, delete_existing: bool) -> Result<(UnixListener, SocketFile), String> {
    make_room(path, delete_existing)?;
    bind(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the user that this program runs as write to the directory"
            }
            io::ErrorKind::AddrInUse => "somebody else just made it: is another server starting?",
            _ => "check the path",
        };
        format!("--uds-name: cannot listen on {}: {error}: {remedy}", path.display())
    })
}

/// Removes a stale file, if that is allowed.
fn make_room(path: &Path, delete_existing: bool) -> Result<(), String> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("--uds-name: cannot look at {shown}: {error}: check the path")),
    };
    if !metadata.file_type().is_socket() {
        return Err(format!("--uds-name: {shown} exists and is no socket: name another path, or remove it"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!(
            "--uds-name: another process answers on {shown}: stop it first, or name another path"
        )),
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(format!(
            "--uds-name: cannot tell whether somebody answers on {shown} ({error}): remove it if nobody does"
        )),
        Err(_) if !delete_existing => Err(format!(
            "--uds-name: {shown} is left over from a server that ended: remove it, or let --delete-existing-uds-file \
             be true"
        )),
        Err(_) => fs::remove_file(path).map_err(|error| {
            format!("--uds-name: cannot remove the stale socket {shown}: {error}: remove it by hand")
        }),
    }
}

fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    // The file inherits the mode of the unbound socket, less the umask: at no moment may others connect.
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(MODE))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

impl SocketFile {
    /// Removes the file if it is still ours. A file that is gone already is what was wanted.
    pub(crate) fn remove(&self) {
        let Ok(metadata) = fs::symlink_metadata(&self.path) else { return };
        if (metadata.dev(), metadata.ino()) == self.identity
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (_listener, file) = listen(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        UnixStream::connect(&path).unwrap();
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, _) = listen(&path, true).unwrap();
        let error = listen(&path, true).unwrap_err();
        assert!(error.contains("another process answers"), "{error}");
        drop(listener);
        let error = listen(&path, false).unwrap_err();
        assert!(error.contains("--delete-existing-uds-file"), "{error}");
        listen(&path, true).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "x").unwrap();
        assert!(listen(&path, true).unwrap_err().contains("is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn somebody_elses_file_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // Kept open: its inode must not be given to the second.
        let (_first_listener, first) = listen(&path, true).unwrap();
        fs::remove_file(&path).unwrap();
        let (_second, _) = listen(&path, true).unwrap();
        first.remove();
        assert!(path.exists());
    }
}
