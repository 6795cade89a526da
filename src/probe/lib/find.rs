//! Finds CUPTI: what the environment names, what the engine has loaded, what lies beside that, what the loader finds,
//! and CUDA's usual places. Loads the first that can be; what it is worth is `cupti`'s to say.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::system::Library;

const NAMES: [&CStr; 3] = [c"libcupti.so.13", c"libcupti.so.12", c"libcupti.so"];
/// Folders of CUPTI below PyTorch's folder `nvidia` of wheels.
const WHEELS: [&str; 2] = ["cu13/lib", "cuda_cupti/lib"];
/// Most bytes of the list of mappings; an engine has some thousand of them.
const LONGEST_LIST: u64 = 16 << 20;

/// What the environment said when CUDA was initialized.
pub struct Hints {
    library: Option<OsString>,
    cuda: Option<OsString>,
}

impl Hints {
    /// Read once: another thread may change the environment later.
    pub fn of_environment() -> Hints {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Hints { library: variable("MPSWARDEN_CUPTI"), cuda: variable("CUDA_HOME") }
    }

    /// The library, or why there is none. One that the environment names is the only one tried.
    pub fn load(&self) -> Result<Library, String> {
        if let Some(named) = &self.library {
            let path = CString::new(named.clone().into_vec()).map_err(|_| "MPSWARDEN_CUPTI is no path".to_owned())?;
            return Library::open(&path);
        }
        let loaded = NAMES.into_iter().find_map(Library::loaded);
        let beside = || first(beside(&mapped()));
        let of_the_loader = || NAMES.into_iter().find_map(|name| Library::open(name).ok());
        let found = loaded.or_else(beside).or_else(of_the_loader).or_else(|| first(self.usual()));
        found.ok_or_else(|| "libcupti is not to be found: name it in MPSWARDEN_CUPTI".to_owned())
    }

    fn usual(&self) -> BTreeSet<PathBuf> {
        let homes = [self.cuda.as_ref().map(PathBuf::from), Some(PathBuf::from("/usr/local/cuda"))];
        let below = |home: PathBuf| [home.join("extras/CUPTI/lib64"), home.join("lib64")];
        homes.into_iter().flatten().flat_map(below).collect()
    }
}

fn first(folders: BTreeSet<PathBuf>) -> Option<Library> {
    let inside = |folder: PathBuf| NAMES.map(|name| folder.join(name.to_string_lossy().as_ref()));
    let there = folders.into_iter().flat_map(inside).filter(|path| path.is_file());
    let paths = there.filter_map(|path| CString::new(path.into_os_string().into_vec()).ok());
    paths.into_iter().find_map(|path| Library::open(&path).ok())
}

/// The files that the process has mapped.
fn mapped() -> BTreeSet<PathBuf> {
    let Ok(list) = File::open("/proc/self/maps") else { return BTreeSet::new() };
    let lines = BufReader::new(list.take(LONGEST_LIST)).split(b'\n').map_while(Result::ok);
    let path = |line: Vec<u8>| {
        let at = line.iter().position(|byte| *byte == b'/')?;
        Some(PathBuf::from(OsString::from_vec(line[at..].to_vec())))
    };
    lines.filter_map(path).collect()
}

/// The folders beside CUDA's and PyTorch's libraries in which CUPTI may lie.
fn beside(mapped: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in mapped {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.starts_with("libcudart") {
            folders.extend(path.parent().map(Path::to_owned));
        }
        let packages =
            path.ancestors().find(|folder| folder.ends_with("site-packages") || folder.ends_with("dist-packages"));
        let ours = name.starts_with("libcudart") || name.starts_with("libtorch") || name.starts_with("libcublas");
        if let Some(packages) = packages.filter(|_| ours) {
            folders.extend(WHEELS.map(|wheel| packages.join("nvidia").join(wheel)));
        }
    }
    folders
}
