//! Files, links and directories that others could have made.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, geteuid, mkfifo};

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.at(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn why<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_is_no_regular_file_is_named_and_blocks_nobody() {
    let place = Place::new();
    mkfifo(&place.at("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", place.at("zero")).unwrap();
    symlink("/etc/passwd", place.at("passwd")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("socket")).unwrap();
    for (name, what) in [("fifo", "a FIFO"), ("zero", "a device"), ("socket", "a socket"), ("", "a directory")] {
        let told = why(read(&place.at(name), Links::Followed, 10));
        assert_eq!(told, format!("it is {what}, not a regular file"), "{name}");
    }
    assert!(open(&place.at("passwd"), Links::Followed).is_ok());
    assert_eq!(why(open(&place.at("passwd"), Links::Refused)), "it is a link, not a regular file");
    assert!(open(&place.at("none"), Links::Refused).is_err());
}

#[test]
fn a_file_is_read_up_to_its_bound() {
    let place = Place::new();
    fs::write(place.at("a"), "0123456789").unwrap();
    assert_eq!(read(&place.at("a"), Links::Refused, 10).unwrap(), b"0123456789");
    assert_eq!(why(read(&place.at("a"), Links::Refused, 9)), "it is over 9 bytes");
    File::create(place.at("hole")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(why(read(&place.at("hole"), Links::Refused, 1 << 20)), "it is over 1 MiB");
}

#[tokio::test]
async fn text_is_read_on_another_thread_within_a_bound() {
    let place = Place::new();
    let read = async |name: &str| read_text(&place.at(name), Links::Followed, 100, Duration::from_secs(60)).await;
    fs::write(place.at("a"), "hello").unwrap();
    fs::write(place.at("b"), [0xff]).unwrap();
    mkfifo(&place.at("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(read("a").await.unwrap(), "hello");
    assert_eq!(why(read("b").await), "it is no UTF-8");
    assert_eq!(why(read("fifo").await), "it is a FIFO, not a regular file");
}

#[test]
fn what_is_appended_goes_past_no_link_and_blocks_nobody() {
    let place = Place::new();
    fs::write(place.at("victim"), "precious").unwrap();
    symlink(place.at("victim"), place.at("link")).unwrap();
    symlink(place.at("new"), place.at("dangling")).unwrap();
    mkfifo(&place.at("fifo"), Mode::S_IRWXU).unwrap();
    for (name, what) in [("link", "a link"), ("dangling", "a link"), ("fifo", "a FIFO")] {
        assert_eq!(why(append(&place.at(name), 0o640)), format!("it is {what}, not a regular file"));
    }
    assert!(!place.at("new").exists());
    io::Write::write_all(&mut append(&place.at("log"), 0o640).unwrap(), b"a").unwrap();
    io::Write::write_all(&mut append(&place.at("log"), 0o640).unwrap(), b"b").unwrap();
    assert_eq!(fs::read_to_string(place.at("log")).unwrap(), "ab");
}

#[test]
fn what_is_replaced_leaves_the_file_that_a_link_names() {
    let place = Place::new();
    fs::write(place.at("victim"), "precious").unwrap();
    for name in ["memory.json", "memory.tmp"] {
        symlink(place.at("victim"), place.at(name)).unwrap();
    }
    replace(&place.at("memory.json"), &place.at("memory.tmp"), b"new", 0o600, true).unwrap();
    assert_eq!(fs::read_to_string(place.at("victim")).unwrap(), "precious");
    assert_eq!(read(&place.at("memory.json"), Links::Refused, 10).unwrap(), b"new");
    assert_eq!(fs::metadata(place.at("memory.json")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!place.at("memory.tmp").exists());
}

#[test]
fn only_the_file_that_is_open_is_truncated() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    fs::write(place.at("log"), "long").unwrap();
    fs::write(place.at("victim"), "precious").unwrap();
    let inode = |name: &str| fs::metadata(place.at(name)).map(|found| (found.dev(), found.ino())).unwrap();
    let open = inode("log");
    assert!(!truncate_at(&place.at("log"), inode("victim"), None).unwrap());
    assert!(!truncate_at(&place.at("log"), open, Some(3)).unwrap());
    assert!(!truncate_at(&place.at("none"), open, None).unwrap());
    assert!(truncate_at(&place.at("log"), open, Some(4)).unwrap());
    symlink(place.at("victim"), place.at("link")).unwrap();
    assert!(truncate_at(&place.at("link"), inode("victim"), None).is_err());
    assert_eq!(fs::read_to_string(place.at("victim")).unwrap(), "precious");
}

fn refused(path: &Path) -> String {
    check_directory("log_directory", path, Holds::Files).unwrap_err().to_string()
}

#[test]
fn a_directory_of_ours_below_a_sticky_one_is_fine() {
    let place = Place::new();
    check_directory("log_directory", place.0.path(), Holds::Files).unwrap();
    check_directory("log_directory", &place.at("not/there/yet"), Holds::Files).unwrap();
    let sticky = place.directory("sticky", 0o1777);
    check_directory("log_directory", &sticky.join("below"), Holds::Files).unwrap();
    assert!(refused(&sticky).contains("name one below it"), "{}", refused(&sticky));
    let ours = place.directory("ours", 0o755);
    symlink(&ours, place.at("link")).unwrap();
    check_directory("log_directory", &place.at("link/below"), Holds::Files).unwrap();
}

#[test]
fn a_directory_that_others_may_write_is_refused_with_the_cure() {
    let place = Place::new();
    let open = place.directory("open", 0o777);
    let told = refused(&open.join("below"));
    assert!(told.starts_with("log_directory `/") && told.contains("everybody may write"), "{told}");
    assert!(told.contains(&format!("chmod o-w {}", open.display())), "{told}");
    let group = place.directory("group", 0o770);
    assert!(refused(&group).contains("chmod g-w"), "{}", refused(&group));
    symlink(&open, place.at("link")).unwrap();
    assert!(refused(&place.at("link")).contains("everybody may write"));
    check_directory("pipe_directory", &open, Holds::Sockets).unwrap();
    assert!(check_directory("pipe_directory", &open.join("below"), Holds::Sockets).is_err());
    symlink(place.at("nowhere"), place.at("dangling")).unwrap();
    assert!(refused(&place.at("dangling")).contains("is a link to"), "{}", refused(&place.at("dangling")));
}

#[test]
fn a_directory_or_a_link_of_another_user_is_refused_and_he_is_named() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let theirs = place.directory("theirs", 0o755);
    let nobody = Some(Uid::from_raw(65534));
    chown(&theirs, nobody, None).unwrap();
    for path in [&theirs, &theirs.join("below")] {
        let told = refused(path);
        assert!(told.contains("belongs to user `nobody`") && told.contains("chown 0 "), "{told}");
    }
    let ours = place.directory("ours", 0o755);
    symlink(&ours, place.at("link")).unwrap();
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &place.at("link"),
        nobody,
        None,
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert!(
        refused(&place.at("link")).contains("is a link, which user `nobody` made"),
        "{}",
        refused(&place.at("link"))
    );
}
