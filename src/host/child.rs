//! Starting processes: session, user, limits, output, cgroup; and their end. What is started and when
//! is decided elsewhere.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

use super::birth::{self, Cradle};
use super::own_limits;
use super::pidfd::Pidfd;
use super::reaper;
use crate::files::{self, NoProgram};
use crate::model::{Exit, ProcessId};

/// A process to be started, in a session of its own, stdin from /dev/null unless captured.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// A path, or a name to be found on the PATH of `environment`.
    pub program: PathBuf,
    /// Arguments that follow the program.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Working directory; `None`: ours.
    pub directory: Option<PathBuf>,
    /// The user it runs as, with all the user's groups; `None`: ours.
    pub user: Option<String>,
    /// Where its output goes.
    pub output: Output,
    /// A cgroup's directory, entered before the program runs.
    pub cgroup: Option<PathBuf>,
}

/// Where stdout and stderr of a process go.
#[derive(Clone, Debug, Default)]
pub enum Output {
    /// The output goes nowhere.
    #[default]
    Discarded,
    /// The output goes to the end of this file, made if it isn't there: no reader is needed for the process to live on.
    Append(PathBuf),
    /// The output goes to pipes, and stdin comes from one.
    Captured,
}

/// The ends of a captured process's pipes.
#[derive(Debug)]
pub struct Pipes {
    /// The end of stdin that is written.
    pub stdin: OwnedFd,
    /// The end of stdout that is read.
    pub stdout: OwnedFd,
    /// The end of stderr that is read.
    pub stderr: OwnedFd,
}

/// Why a process could not be started, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither on PATH nor at its path.
    #[error("program `{0}` was not found: install it, or give its full path")]
    NoProgram(PathBuf),
    /// It is there and may not be run.
    #[error("`{0}` can't be executed: it needs the execute permission (chmod +x)")]
    NotExecutable(PathBuf),
    /// It may be run, but not by that user.
    #[error("`{0}` can't be executed by user `{1}`: the file and every directory above it must be open to that user")]
    NotOpen(PathBuf, String),
    /// A script whose first line names nothing that exists.
    #[error("`{0}` exists, but the interpreter that its first line names does not")]
    NoInterpreter(PathBuf),
    /// The user database has no such name.
    #[error("there is no user `{0}` on this machine: create it, or name another")]
    NoUser(String),
    /// Only root may become another user.
    #[error("may not become user `{0}`: run the watchdog as root, or leave the user out")]
    NotAllowed(String),
    /// The working directory isn't one.
    #[error("working directory `{0}` does not exist: create it, or name another")]
    NoDirectory(PathBuf),
    /// The output file can't be opened.
    #[error("can't write the output to `{0}`: {1}: remove it, or make room for a file that mpswarden may write")]
    NoOutput(PathBuf, io::Error),
    /// Anything else.
    #[error("can't start `{0}`: {1}")]
    Other(PathBuf, io::Error),
}

impl StartError {
    /// Whether it says nothing of the program: we have no process, descriptor or memory left to start one.
    pub fn is_ours(&self) -> bool {
        matches!(self, StartError::Other(_, error) | StartError::NoOutput(_, error) if own_limits::is_ours_to_start(error))
    }

    /// Whether the program is not there, or can't be run.
    pub fn is_of_the_program(&self) -> bool {
        matches!(self, StartError::NoProgram(_) | StartError::NotExecutable(_) | StartError::NoInterpreter(_))
    }
}

/// A process that we started. Whoever drops it leaves its end to the reaper.
#[derive(Debug)]
pub struct Child {
    held: Arc<Pidfd>,
    /// Where its output was captured.
    pub pipes: Option<Pipes>,
}

impl Child {
    /// Identity of the process.
    pub fn id(&self) -> ProcessId {
        self.held.id
    }

    /// A hold on it to signal it or to see its end.
    pub fn pidfd(&self) -> Arc<Pidfd> {
        self.held.clone()
    }

    /// Waits for its end and reaps it.
    pub async fn wait(&mut self) -> Exit {
        self.held.gone().await;
        reaper::reap_owned(&self.held)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        reaper::disown(&self.held);
    }
}

/// Starts it. Blocks until the program runs or is known not to: about a millisecond.
pub fn start(launch: &Launch) -> Result<Child, StartError> {
    let program = resolve(&launch.program, &launch.environment)?;
    if let Some(directory) = launch.directory.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(StartError::NoDirectory(directory.clone()));
    }
    let other = |error| StartError::Other(program.clone(), error);
    let mut command = Command::new(&program);
    command.args(&launch.arguments).env_clear().envs(&launch.environment);
    if let Some(directory) = &launch.directory {
        command.current_dir(directory);
    }
    redirect(&mut command, &launch.output)?;
    let (birth, cradle) = launch.cgroup.as_deref().map(birth::in_cgroup).transpose().map_err(other)?.unzip();
    let preparation = Preparation::new(launch, cradle).map_err(|error| match error {
        PrepareError::NoUser(name) => StartError::NoUser(name),
        PrepareError::Io(error) => other(error),
    })?;
    // SAFETY: between fork and exec only system calls are made and nothing is allocated.
    unsafe { command.pre_exec(move || preparation.carry_out()) };
    let (held, mut std_child) =
        reaper::spawn_owned(&mut command, birth).map_err(|error| explain(error, &program, launch))?;
    let pipes = match (std_child.stdin.take(), std_child.stdout.take(), std_child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Some(Pipes { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
        }
        _ => None,
    };
    Ok(Child { held: Arc::new(held), pipes })
}

/// The error of a failed fork or exec, in words that help.
fn explain(error: io::Error, program: &Path, launch: &Launch) -> StartError {
    match (error.kind(), &launch.user) {
        (io::ErrorKind::NotFound, _) => StartError::NoInterpreter(program.to_owned()),
        (io::ErrorKind::PermissionDenied, Some(user)) if !geteuid().is_root() => StartError::NotAllowed(user.clone()),
        (io::ErrorKind::PermissionDenied, Some(user)) => StartError::NotOpen(program.to_owned(), user.clone()),
        (io::ErrorKind::PermissionDenied, None) => StartError::NotExecutable(program.to_owned()),
        _ => StartError::Other(program.to_owned(), error),
    }
}

/// The program's path: as given, or the first on PATH that may be executed.
fn resolve(program: &Path, environment: &BTreeMap<OsString, OsString>) -> Result<PathBuf, StartError> {
    let is_executable = |path: &Path| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let path =
        environment.get(&OsString::from("PATH")).cloned().unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    files::find_program(program, &path, is_executable).map_err(|why| match why {
        NoProgram::NotFound => StartError::NoProgram(program.to_owned()),
        NoProgram::NotExecutable => StartError::NotExecutable(program.to_owned()),
    })
}

/// Whether the program could be started, known before anything is.
pub fn find_program(program: &Path) -> Result<PathBuf, StartError> {
    resolve(program, &std::env::vars_os().collect())
}

fn redirect(command: &mut Command, output: &Output) -> Result<(), StartError> {
    match output {
        Output::Discarded => {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::Append(path) => {
            let no_output = |error| StartError::NoOutput(path.clone(), error);
            let file = files::append(path, 0o640).map_err(no_output)?;
            let copy = file.try_clone().map_err(no_output)?;
            command.stdin(Stdio::null()).stdout(file).stderr(copy);
        }
        Output::Captured => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
    Ok(())
}

enum PrepareError {
    NoUser(String),
    Io(io::Error),
}

/// What is done between fork and exec, made ready before: nothing may be allocated there.
struct Preparation {
    account: Option<(Uid, Gid, Vec<libc::gid_t>)>,
    cradle: Option<Cradle>,
    open_files: Option<libc::rlimit>,
    reset_oom_score: bool,
}

impl Preparation {
    fn new(launch: &Launch, cradle: Option<Cradle>) -> Result<Self, PrepareError> {
        let account = match &launch.user {
            Some(name) => {
                account_of(name).map_err(PrepareError::Io)?.ok_or_else(|| PrepareError::NoUser(name.clone()))?.into()
            }
            None => None,
        };
        let groups = |user: User| -> io::Result<_> {
            let name = CString::new(user.name.clone()).map_err(io::Error::other)?;
            let groups = getgrouplist(&name, user.gid)?.into_iter().map(Gid::as_raw).collect();
            Ok((user.uid, user.gid, groups))
        };
        let account =
            account.filter(|user: &User| user.uid != geteuid()).map(groups).transpose().map_err(PrepareError::Io)?;
        Ok(Preparation {
            account,
            cradle,
            open_files: OPEN_FILES.get().copied(),
            reset_oom_score: std::fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|score| score.trim() != "0"),
        })
    }

    fn carry_out(&self) -> io::Result<()> {
        if let Some(cradle) = &self.cradle {
            // SAFETY: this is between fork and exec.
            unsafe { cradle.enter() }?;
        }
        // SAFETY: each is a system call over values that live on.
        unsafe {
            check(libc::setsid())?;
            for signal in 1..=31 {
                libc::signal(signal, libc::SIG_DFL);
            }
            if self.reset_oom_score {
                reset_oom_score();
            }
            self.set_limits();
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if let Some((uid, gid, groups)) = &self.account {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setgid(gid.as_raw()))?;
                check(libc::setuid(uid.as_raw()))?;
            }
            drop_inherited_capabilities()?;
        }
        Ok(())
    }

    /// A core file limit of 1 byte: where cores go to a pipe, 0 would be ignored (core(5)).
    unsafe fn set_limits(&self) {
        let core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: both structs live on; a limit that can't be set stays as it was.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &core);
            if let Some(limit) = &self.open_files {
                libc::setrlimit(libc::RLIMIT_NOFILE, limit);
            }
        }
    }
}

/// What the watchdog may do beside its user's rights (it may read the kernel log) is no child's to do: the ambient
/// set would come through the exec, the inheritable one would with a file that has it too (capabilities(7)). Of root
/// nothing is taken: a child of root has root's rights.
unsafe fn drop_inherited_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: the header and both halves of the sets are as capget(2) has them, and live on. A kernel without ambient
    // sets (before 4.3) answers EINVAL: nothing is inherited there.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        let header = [VERSION_3, 0];
        // Twice: effective, permitted, inheritable.
        let mut sets = [0_u32; 6];
        check(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) as i32)?;
        if sets[2] != 0 || sets[5] != 0 {
            (sets[2], sets[5]) = (0, 0);
            check(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) as i32)?;
        }
    }
    Ok(())
}

/// Gives back the score that protects the watchdog: an engine is no better than any other process.
unsafe fn reset_oom_score() {
    // SAFETY: the path and the byte are constants; a failure leaves the score as it was.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A user's entry in the user database; `None`: no such name.
pub fn account_of(name: &str) -> io::Result<Option<User>> {
    Ok(User::from_name(name)?)
}

/// The limit of open files that we were started with, and that children get back.
static OPEN_FILES: OnceLock<libc::rlimit> = OnceLock::new();

/// Raises our limit of open files as far as allowed. Children get the old one: programs that use
/// select() break above 1024. Tells how many we may open.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    OPEN_FILES.get_or_init(|| libc::rlimit { rlim_cur: soft, rlim_max: hard });
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn shell(script: &str, output: Output) -> Launch {
        Launch {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: std::env::vars_os().collect(),
            output,
            ..Launch::default()
        }
    }

    async fn output_of(script: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut child = start(&shell(script, Output::Append(path.clone()))).unwrap();
        assert_eq!(child.wait().await, Exit::Status(0));
        std::fs::read_to_string(path).unwrap()
    }

    #[tokio::test]
    async fn ends_are_told_by_status_and_by_signal() {
        assert_eq!(start(&shell("exit 7", Output::Discarded)).unwrap().wait().await, Exit::Status(7));
        assert_eq!(start(&shell("kill -9 $$", Output::Discarded)).unwrap().wait().await, Exit::Signal(9));
    }

    #[tokio::test]
    async fn output_of_both_kinds_is_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        std::fs::write(&path, "before\n").unwrap();
        start(&shell("echo out; echo err >&2", Output::Append(path.clone()))).unwrap().wait().await;
        assert_eq!(std::fs::read_to_string(path).unwrap(), "before\nout\nerr\n");
    }

    #[tokio::test]
    async fn a_child_leads_a_session_and_drops_no_core() {
        let text = output_of("echo $$; cut -d' ' -f6 /proc/$$/stat; ulimit -c").await;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], lines[1]);
        assert_eq!(lines[2], "0", "1 byte is less than one block");
    }

    #[tokio::test]
    async fn signals_that_we_ignore_are_not_ignored_by_children() {
        // SAFETY: a disposition that no other test relies on.
        unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
        let text = output_of("grep SigIgn /proc/$$/status").await;
        let ignored = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(ignored & 0x7fff_ffff, 0, "{text}");
    }

    #[test]
    fn what_can_not_be_started_is_named_with_its_cure() {
        let tell = |launch: &Launch| start(launch).unwrap_err().to_string();
        let launch = Launch { program: "/no/such/program".into(), ..Launch::default() };
        assert!(tell(&launch).contains("`/no/such/program` was not found"));
        let launch = Launch { program: "no-such-program".into(), ..Launch::default() };
        assert!(tell(&launch).contains("`no-such-program` was not found"));
        let launch = Launch { program: "/etc/passwd".into(), ..Launch::default() };
        assert!(tell(&launch).contains("`/etc/passwd` can't be executed"));
        let launch = Launch { directory: Some("/no/such/place".into()), ..shell("", Output::Discarded) };
        assert!(tell(&launch).contains("working directory `/no/such/place`"));
        let launch = Launch { user: Some("no-such-user".into()), ..shell("", Output::Discarded) };
        assert!(tell(&launch).contains("no user `no-such-user`"));
        let launch = shell("", Output::Append("/no/such/place/out".into()));
        assert!(tell(&launch).contains("/no/such/place/out"));
    }

    #[test]
    fn a_script_without_its_interpreter_is_told_from_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        // Written by another process, so that no fork of another test holds it open for writing.
        let write = "echo '#!/no/such/interpreter' >\"$0\" && chmod +x \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(&script).status().unwrap().success());
        let error = start(&Launch { program: script, ..Launch::default() }).unwrap_err();
        assert!(matches!(error, StartError::NoInterpreter(_)), "{error}");
    }

    #[test]
    fn a_program_that_its_user_can_not_reach_is_told_so() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        assert!(Command::new("cp").arg("/bin/true").arg(&program).status().unwrap().success());
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let launch = Launch { program, user: Some("nobody".into()), ..Launch::default() };
        assert!(start(&launch).unwrap_err().to_string().contains("by user `nobody`"));
    }

    /// Sets the inheritable set of this thread, and raises what is in it in the ambient one.
    fn inherit(capability: u32) {
        let header = [0x2008_0522_u32, 0];
        let mut sets = [0_u32; 6];
        // SAFETY: as capget(2) has them; capabilities are a thread's own.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()), 0);
            sets[2 + 3 * (capability / 32) as usize] |= 1 << (capability % 32);
            assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()), 0);
            assert_eq!(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0), 0);
        }
    }

    #[tokio::test]
    async fn no_capability_of_the_watchdog_goes_to_a_child() {
        if !geteuid().is_root() {
            return eprintln!("SKIPPED: only root has capabilities to give away");
        }
        const SYS_PTRACE: u32 = 19;
        inherit(SYS_PTRACE);
        let sets = |text: String| -> Vec<u64> {
            let lines = text.lines().filter(|line| line.starts_with("CapInh") || line.starts_with("CapAmb"));
            lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()).collect()
        };
        let ours = sets(std::fs::read_to_string("/proc/thread-self/status").unwrap());
        assert!(ours.iter().all(|set| set & (1 << SYS_PTRACE) != 0), "{ours:x?}");
        assert_eq!(sets(output_of("cat /proc/$$/status").await), [0, 0]);
    }

    #[tokio::test]
    async fn children_get_the_old_limit_of_open_files_back() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        raise_open_files().unwrap();
        assert_eq!(output_of("ulimit -Sn").await.trim(), soft.to_string());
    }
}
