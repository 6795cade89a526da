//! Processes of this test, found as an engine of others would be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::unistd::geteuid;

use super::*;

/// A process that ends with the test, and the pid in a file.
struct Sleeper {
    child: Child,
    place: tempfile::TempDir,
}

impl Sleeper {
    /// It carries a word that no other process has.
    fn start(word: &str) -> Sleeper {
        let child = Command::new("sleep").arg0(word).arg("1000").stdout(Stdio::null()).spawn().unwrap();
        let process = Sleeper { child, place: tempfile::tempdir().unwrap() };
        process.write(&process.child.id().to_string());
        process
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("engine.pid")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        fs::set_permissions(self.file(), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn find(at: &ExternalAt) -> Result<Found, NotFound> {
    Externals::default().find(at, Some(geteuid().as_raw())).await
}

/// A word that no other process of this machine has.
fn word(of: &str) -> String {
    format!("mpswarden-test-{of}-{}", std::process::id())
}

#[tokio::test]
async fn a_pid_file_leads_to_its_process() {
    let process = Sleeper::start("pid-file");
    let found = find(&ExternalAt::PidFile(process.file())).await.unwrap();
    assert_eq!((found.main.pid, found.bounds), (process.child.id(), Bounds::Tree(found.main)));
}

#[tokio::test]
async fn a_pid_file_of_somebody_else_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let process = Sleeper::start("file-of-another");
    std::os::unix::fs::chown(process.file(), Some(4242), None).unwrap();
    let why = find(&ExternalAt::PidFile(process.file())).await.unwrap_err();
    assert!(matches!(&why, NotFound::Refused(why) if why.contains("belongs to user 4242")), "{why}");
}

#[tokio::test]
async fn a_pid_file_that_others_may_write_is_refused_and_so_is_a_link() {
    let process = Sleeper::start("writable");
    fs::set_permissions(process.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let why = find(&ExternalAt::PidFile(process.file())).await.unwrap_err();
    assert!(matches!(&why, NotFound::Refused(why) if why.contains("chmod go-w")), "{why}");
    fs::set_permissions(process.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let link = process.place.path().join("link.pid");
    symlink(process.file(), &link).unwrap();
    let why = find(&ExternalAt::PidFile(link)).await.unwrap_err();
    assert!(why.to_string().contains("it is a link"), "{why}");
}

#[tokio::test]
async fn a_pid_file_that_was_left_or_whose_pid_is_anothers_now_is_stale() {
    let mut process = Sleeper::start("stale");
    process.write("not a pid\n");
    assert!(matches!(find(&ExternalAt::PidFile(process.file())).await, Err(NotFound::Refused(_))));
    process.write(&process.child.id().to_string());
    let hour = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(process.file()).unwrap().set_modified(hour).unwrap();
    let why = find(&ExternalAt::PidFile(process.file())).await.unwrap_err();
    assert!(matches!(&why, NotFound::Absent(why) if why.contains("another process now")), "{why}");
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let why = find(&ExternalAt::PidFile(process.file())).await.unwrap_err();
    assert!(matches!(&why, NotFound::Absent(why) if why.contains("is gone")), "{why}");
    let why = find(&ExternalAt::PidFile("/no/such/engine.pid".into())).await.unwrap_err();
    assert!(matches!(why, NotFound::Absent(_)), "{why}");
}

#[tokio::test]
async fn a_command_that_one_tree_has_is_found_and_one_that_two_have_is_refused() {
    let word = word("command");
    let first = Sleeper::start(&word);
    let at = ExternalAt::CommandMatches(word.clone());
    assert_eq!(find(&at).await.unwrap().main.pid, first.child.id());
    let second = Sleeper::start(&word);
    let why = find(&at).await.unwrap_err();
    assert!(matches!(&why, NotFound::Refused(why) if why.contains("2 processes match")), "{why}");
    drop(second);
    assert_eq!(find(&at).await.unwrap().main.pid, first.child.id());
    drop(first);
    assert!(matches!(find(&at).await, Err(NotFound::Absent(_))));
}

#[tokio::test]
async fn a_process_of_another_user_is_not_taken_for_the_engine() {
    let word = word("another-user");
    let process = Sleeper::start(&word);
    let externals = Externals::default();
    let why = externals.find(&ExternalAt::CommandMatches(word), Some(4242)).await.unwrap_err();
    assert!(matches!(why, NotFound::Absent(_)), "{why}");
    if geteuid().is_root() {
        let why = externals.find(&ExternalAt::PidFile(process.file()), Some(4242)).await.unwrap_err();
        assert!(matches!(&why, NotFound::Refused(why) if why.contains("not of user 4242")), "{why}");
    }
}

#[tokio::test]
async fn what_holds_mpswarden_itself_is_no_engine() {
    let parent = Procfs::new(Path::new("/proc")).stat(std::process::id()).unwrap().unwrap().parent;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("engine.pid");
    fs::write(&file, parent.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let why = find(&ExternalAt::PidFile(file)).await.unwrap_err();
    assert!(matches!(&why, NotFound::Refused(why) if why.contains("mpswarden itself")), "{why}");
}

#[tokio::test]
async fn a_cgroup_that_is_not_there_is_absent() {
    let why = find(&ExternalAt::Cgroup("/no/such/cgroup".to_owned())).await.unwrap_err();
    assert!(matches!(why, NotFound::Absent(_)), "{why}");
}
