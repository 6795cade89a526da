//! The environments of control daemons and engines: what MPS needs, what marks a process as ours.
//! Pure: the watchdog's own environment and a file's text come in as values.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use nix::unistd::User;

use super::hooks::Call;
use super::shared::OwnerMark;
use crate::host::leftovers::OWNER_VARIABLE;
use crate::host::probe_place::ProbePlace;
use crate::host::trees::{ENGINE_VARIABLE, START_VARIABLE};
use crate::model::{EngineLaunch, GpuNamedBy, GroupLaunch};

/// Variables by name.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// Variables of a file, in its order.
pub(super) type Variables = Vec<(String, String)>;

/// CUDA loads the library that it names into each process.
const INJECTION: &str = "CUDA_INJECTION64_PATH";

/// CUDA uses the GPUs that it names.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What speaks to the watchdog's own supervisor is no child's to say.
const OUR_SUPERVISORS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Environment of the control daemon and of the server that it starts. Its stamps are local time: UTC.
pub(super) fn of_control(own: Environment, group: &GroupLaunch, owner: &OwnerMark) -> Environment {
    let mut environment = of_group(own, group, owner);
    environment.insert("TZ".into(), "UTC".into());
    environment
}

/// Environment of an engine: the watchdog's own, its user's, the file's, the configuration's, and over all MPS's.
pub(super) fn of_engine(
    own: Environment,
    user: Option<&User>,
    file: Variables,
    group: &GroupLaunch,
    engine: &EngineLaunch,
    owner: &OwnerMark,
) -> Environment {
    let mut environment = own;
    if let Some(user) = user {
        environment.insert("HOME".into(), user.dir.clone().into());
        environment.insert("USER".into(), user.name.clone().into());
        environment.insert("LOGNAME".into(), user.name.clone().into());
    }
    let configured = engine.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    environment.extend(file.into_iter().chain(configured).map(|(name, value)| (name.into(), value.into())));
    let mut environment = of_group(environment, group, owner);
    let visible = match engine.gpu_named_by {
        GpuNamedBy::Uuid => engine.gpus.visible(),
        // Numbers are places among the GPUs that the control daemon was given.
        GpuNamedBy::Index(_) => places(group, engine),
    };
    environment.insert(VISIBLE.into(), visible.into());
    environment.insert(ENGINE_VARIABLE.into(), engine.member.key().to_string().into());
    if let Some(percentage) = engine.sm_percentage {
        environment.insert("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE".into(), percentage.to_string().into());
    }
    if let Some(bytes) = engine.device_memory_limit {
        // On each device that the engine sees; in MiB, since bytes have no unit there.
        let each = engine.gpus.iter().zip(0..).map(|(_, ordinal)| format!("{ordinal}={}M", bytes >> 20));
        let limits = each.collect::<Vec<_>>().join(",");
        environment.insert("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT".into(), limits.into());
    }
    environment
}

/// Makes an engine run outside MPS: it finds no control daemon where it looks, be there one elsewhere. A limit of
/// MPS is none there, and a number names one of all GPUs: that which NVML means, whose order is that of the bus.
pub(super) fn leave_mps(environment: &mut Environment, group: &GroupLaunch, engine: &EngineLaunch) {
    let nowhere = group.control.pipe_directory.join("outside");
    environment.insert("CUDA_MPS_PIPE_DIRECTORY".into(), nowhere.into());
    environment.remove(OsStr::new("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"));
    environment.remove(OsStr::new("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"));
    if let GpuNamedBy::Index(indexes) = &engine.gpu_named_by {
        let indexes: Vec<String> = indexes.iter().map(u32::to_string).collect();
        environment.insert(VISIBLE.into(), indexes.join(",").into());
        environment.insert("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into());
    }
}

/// Makes an engine load the kernel probe, inside MPS or outside it. Fails where another library has that place: only
/// one fits, and the operator's choice stands.
pub(super) fn load_probe(environment: &mut Environment, place: &ProbePlace) -> Result<(), String> {
    if environment.contains_key(OsStr::new(INJECTION)) {
        return Err(format!("another injection: {INJECTION} is set already; leave it out, or set overlap = \"off\""));
    }
    environment.insert(INJECTION.into(), place.library().into());
    environment.insert("MPSWARDEN_PROBE_SOCKET".into(), place.socket().into());
    Ok(())
}

/// Environment of a hook's command. Marked as ours: one that outlives a crash of the watchdog is ended with all else.
/// `MPSWARDEN_ENGINE` is the engine's bare name here, which marks no process as an engine's.
pub(super) fn of_hook(own: Environment, call: &Call, owner: &OwnerMark) -> Environment {
    let mut environment = own;
    environment.retain(|name, _| OUR_SUPERVISORS.iter().all(|ours| name != ours));
    let text = |name: Option<&str>| name.unwrap_or_default().into();
    environment.insert("MPSWARDEN_EVENT".into(), call.hook.event().into());
    environment.insert("MPSWARDEN_GROUP".into(), text(call.group.as_ref().map(|group| group.as_str())));
    environment.insert(ENGINE_VARIABLE.into(), text(call.engine.as_ref().map(|engine| engine.as_str())));
    environment.insert(OWNER_VARIABLE.into(), owner.state_directory.clone().into());
    environment
}

fn of_group(mut environment: Environment, group: &GroupLaunch, owner: &OwnerMark) -> Environment {
    environment.retain(|name, _| OUR_SUPERVISORS.iter().all(|ours| name != ours) && name != START_VARIABLE);
    environment.insert("CUDA_MPS_PIPE_DIRECTORY".into(), group.control.pipe_directory.clone().into());
    environment.insert("CUDA_MPS_LOG_DIRECTORY".into(), group.outputs.clone().into());
    environment.insert(VISIBLE.into(), group.gpus.visible().into());
    environment.insert(OWNER_VARIABLE.into(), owner.state_directory.clone().into());
    environment
}

/// An engine's GPUs by their places among those of its control daemon.
fn places(group: &GroupLaunch, engine: &EngineLaunch) -> String {
    let place = |gpu| group.gpus.iter().position(|known| known == gpu).unwrap_or_default().to_string();
    engine.gpus.iter().map(place).collect::<Vec<_>>().join(",")
}

/// `KEY=value` lines; empty ones and comments are skipped, one pair of quotes around a value is taken off.
pub(super) fn parse_file(path: &Path, text: &str) -> Result<Variables, String> {
    let is_said = |line: &str| !line.is_empty() && !line.starts_with('#');
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| is_said(line));
    lines
        .map(|(number, line)| {
            parse(line).ok_or_else(|| format!("{}:{}: not a line `KEY=value`", path.display(), number + 1))
        })
        .collect()
}

fn parse(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    if name.is_empty() || name.contains([' ', '\0']) || value.contains('\0') {
        return None;
    }
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name.to_owned(), unquoted.unwrap_or(value).to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::{group, owner};
    use super::*;

    fn own() -> Environment {
        [("PATH", "/bin"), ("A", "own"), ("B", "own"), ("C", "own"), ("NOTIFY_SOCKET", "/run/x")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        environment.get(&OsString::from(name)).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_engine_gets_its_variables_in_their_order_of_rank() {
        let mut group = group(Path::new("/d"), &["true"]);
        let engine = &mut group.engines[0];
        engine.environment =
            [("B", "configured"), ("CUDA_VISIBLE_DEVICES", "7")].map(|(n, v)| (n.into(), v.into())).into();
        engine.sm_percentage = Some(50.0);
        engine.device_memory_limit = Some(40 << 30);
        let engine = &group.engines[0];
        let file = vec![("B".to_owned(), "file".to_owned()), ("C".to_owned(), "file".to_owned())];
        let made = of_engine(own(), None, file, &group, engine, &owner(Path::new("/s")));
        let expected = [
            ("A", Some("own")),
            ("B", Some("configured")),
            ("C", Some("file")),
            ("NOTIFY_SOCKET", None),
            ("CUDA_MPS_PIPE_DIRECTORY", Some("/d/pipe")),
            ("CUDA_MPS_LOG_DIRECTORY", Some("/d/log")),
            ("CUDA_VISIBLE_DEVICES", Some("GPU-1")),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", Some("50")),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", Some("0=40960M")),
            ("MPSWARDEN_OWNER", Some("/s")),
            ("MPSWARDEN_ENGINE", Some(&engine.member.key().to_string())),
        ];
        for (name, value) in expected {
            assert_eq!(get(&made, name), value, "{name}");
        }
    }

    #[test]
    fn the_probe_is_loaded_from_the_state_directory_and_stays_outside_mps() {
        let group = group(Path::new("/d"), &["true"]);
        let mut made = of_engine(own(), None, Vec::new(), &group, &group.engines[0], &owner(Path::new("/s")));
        load_probe(&mut made, &ProbePlace::of(Path::new("/s"))).unwrap();
        leave_mps(&mut made, &group, &group.engines[0]);
        assert_eq!(get(&made, INJECTION), Some("/s/probe/libmpswarden_probe.so"));
        assert_eq!(get(&made, "MPSWARDEN_PROBE_SOCKET"), Some("/s/probe/probe.sock"));
    }

    /// CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER of an engine inside MPS, and of the same outside.
    fn named(gpu_named_by: GpuNamedBy) -> [[Option<String>; 2]; 2] {
        let mut group = group(Path::new("/d"), &["true"]);
        group.engines[0].gpu_named_by = gpu_named_by;
        let engine = &group.engines[0];
        let inside = of_engine(own(), None, Vec::new(), &group, engine, &owner(Path::new("/s")));
        let mut outside = inside.clone();
        leave_mps(&mut outside, &group, engine);
        [inside, outside].map(|made| [VISIBLE, "CUDA_DEVICE_ORDER"].map(|name| get(&made, name).map(str::to_owned)))
    }

    #[test]
    fn a_number_names_the_one_gpu_of_the_daemon_and_outside_mps_the_same_among_all() {
        let some = |text: &str| Some(text.to_owned());
        let [inside, outside] = named(GpuNamedBy::Index(vec![3]));
        assert_eq!((inside, outside), ([some("0"), None], [some("3"), some("PCI_BUS_ID")]));
        let [inside, outside] = named(GpuNamedBy::Uuid);
        assert_eq!((inside, outside), ([some("GPU-1"), None], [some("GPU-1"), None]));
    }

    #[test]
    fn another_injection_keeps_its_place() {
        let mut made = Environment::from([(INJECTION.into(), "/opt/profiler.so".into())]);
        let why = load_probe(&mut made, &ProbePlace::of(Path::new("/s"))).unwrap_err();
        assert!(why.starts_with("another injection"), "{why}");
        assert_eq!((get(&made, INJECTION), made.len()), (Some("/opt/profiler.so"), 1));
    }

    #[test]
    fn the_control_daemon_writes_utc_and_sees_its_own_gpu_only() {
        let made = of_control(own(), &group(Path::new("/d"), &[]), &owner(Path::new("/s")));
        assert_eq!((get(&made, "TZ"), get(&made, "CUDA_VISIBLE_DEVICES")), (Some("UTC"), Some("GPU-1")));
        assert_eq!(get(&made, "MPSWARDEN_ENGINE"), None);
    }

    #[test]
    fn an_environment_file_is_read_or_its_bad_line_is_named() {
        let path = Path::new("/d/env");
        let pairs = parse_file(path, "# a comment\n\nA=1\nB = \"two words\"\nC='='\nD=\n").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "two words"), ("C", "="), ("D", "")]);
        assert!(parse_file(path, "A=1\nnonsense\n").unwrap_err().contains("env:2"));
    }
}
