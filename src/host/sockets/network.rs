//! Network namespaces of processes. A netlink socket stays in the namespace in which it was opened: so one thread goes
//! there for it, and ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::Sockets;
use crate::host::procfs::Procfs;
use crate::model::ProcessId;

/// Identity of a network namespace: device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkId(u64, u64);

/// A network namespace, held.
#[derive(Debug)]
pub struct Network {
    /// Identity of the namespace.
    pub id: NetworkId,
    file: File,
}

impl Network {
    /// The one that this process is in; `None`: it is gone.
    pub fn of(process: ProcessId) -> Result<Option<Network>, String> {
        let path = format!("/proc/{process}/ns/net");
        let opened = File::open(&path).and_then(|file| Ok((id(&file.metadata()?), file)));
        let alive = Procfs::new(Path::new("/proc")).stat(process.pid);
        // Asked after it: so it is the namespace of this process, and of no other that has its pid now.
        match alive.map_err(|error| format!("/proc can't be read: {error}"))? {
            Some(stat) if stat.id == process => {}
            _ => return Ok(None),
        }
        match opened {
            Ok((id, file)) => Ok(Some(Network { id, file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(format!("which network it has can't be seen: {path} needs CAP_SYS_PTRACE, or its user's rights"))
            }
            Err(error) => Err(format!("which network it has can't be seen: {path}: {error}")),
        }
    }

    /// The one that this thread is in.
    pub fn own() -> Result<NetworkId, String> {
        let path = "/proc/thread-self/ns/net";
        fs::metadata(path).map(|metadata| id(&metadata)).map_err(|error| format!("{path}: {error}"))
    }

    /// The sockets in it.
    pub fn sockets(self) -> Result<Sockets, String> {
        self.within(Sockets::here)
    }

    /// What `work` makes of it, on a thread that goes there: some system calls, none of which waits for anybody.
    pub(super) fn within<T: Send + 'static>(
        self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let entered = thread::Builder::new().name("setns".into()).spawn(move || {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        let opened = entered.map_err(|error| format!("no thread to enter its network on: {error}"))?.join();
        match opened {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(
                "it has a network of its own, and entering that is refused: it needs CAP_SYS_ADMIN (and, under systemd, \
                 RestrictNamespaces=no)"
                    .to_owned(),
            ),
            Ok(Err(error)) => Err(format!("it has a network of its own, which can't be entered: {error}")),
            Err(_) => Err("the thread that entered its network failed".to_owned()),
        }
    }
}

fn id(metadata: &fs::Metadata) -> NetworkId {
    NetworkId(metadata.dev(), metadata.ino())
}
