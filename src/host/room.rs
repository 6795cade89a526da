//! How much room is left where files are written.

use std::path::Path;

/// Bytes that this user may still write to the file system of `directory`; `None`: that is not known.
pub fn left(directory: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(directory).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_room_and_what_is_not_there_says_nothing() {
        assert!(left(Path::new("/proc")).is_some());
        assert_eq!(left(Path::new("/no/such/place")), None);
    }
}
