//! Talks to the simulated GPU over its socket, which lies beside this library. While a file
//! `nvml.hang` lies there too, every call hangs, as calls on a sick GPU do; with `nvml.error`, every call fails.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::{GPU_IS_LOST, Return, UNKNOWN};

/// Upper bound for an answer of the GPU process.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One connection as a reader.
pub struct Conversation {
    stream: UnixStream,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
}

static CALLS: Mutex<Option<Conversation>> = Mutex::new(None);

/// Asks the GPU; a connection that broke is made again once.
pub fn ask(question: &str) -> Result<String, Return> {
    while beside("nvml.hang").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    if beside("nvml.error").exists() {
        return Err(UNKNOWN);
    }
    let mut calls = CALLS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kept = calls.take().and_then(|mut kept| kept.ask(question).ok().map(|answer| (answer, kept)));
    let fresh = || {
        let mut fresh = Conversation::open().ok()?;
        fresh.ask(question).ok().map(|answer| (answer, fresh))
    };
    let (answer, conversation) = kept.or_else(fresh).ok_or(UNKNOWN)?;
    *calls = Some(conversation);
    if answer == "lost" { Err(GPU_IS_LOST) } else { Ok(answer) }
}

/// Ends the conversation; the next question begins another.
pub fn hang_up() {
    *CALLS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
}

impl Conversation {
    /// Connects and says that it only reads.
    pub fn open() -> io::Result<Conversation> {
        let path = std::env::var_os("MPSWARDEN_SIM_GPU").map_or_else(|| beside("gpu.socket"), PathBuf::from);
        let mut conversation = Conversation { stream: UnixStream::connect(path)?, rest: Vec::new() };
        conversation.ask("reader")?;
        Ok(conversation)
    }

    /// Says a line and waits for the answer.
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        self.stream.write_all(format!("{question}\n").as_bytes())?;
        self.listen(ANSWER_LIMIT)?.ok_or_else(|| ErrorKind::TimedOut.into())
    }

    /// The next line within `limit`; `None`: none came.
    pub fn listen(&mut self, limit: Duration) -> io::Result<Option<String>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.rest.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[repr(C)]
struct Symbol {
    file: *const c_char,
    base: *const c_void,
    name: *const c_char,
    address: *const c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, symbol: *mut Symbol) -> c_int;
}

/// A file in this library's own folder.
pub fn beside(name: &str) -> PathBuf {
    let null = std::ptr::null();
    let mut symbol = Symbol { file: null, base: std::ptr::null(), name: null, address: std::ptr::null() };
    // SAFETY: dladdr reads an address of this library and fills the structure, or leaves it.
    let found = unsafe { dladdr(beside as *const c_void, &mut symbol) };
    if found == 0 || symbol.file.is_null() {
        return PathBuf::from(name);
    }
    // SAFETY: a C string that lives as long as the library.
    let file = unsafe { CStr::from_ptr(symbol.file) }.to_string_lossy().into_owned();
    PathBuf::from(file).with_file_name(name)
}
