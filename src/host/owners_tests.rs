//! Whose a process is, by what its cgroup is called.

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn part(path: &str) -> Option<(String, CgroupKind)> {
    owning_cgroup(&format!("0::{path}\n"))
}

#[test]
fn containers_of_pods_are_known_under_every_cgroup_driver() {
    let pod = "kubepods-burstable-pod0a1b2c3d_0000_0000_0000_000000000000.slice";
    for path in [
        format!("/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{HEX}.scope"),
        format!("/kubepods.slice/{pod}/crio-{HEX}.scope"),
        format!("/kubepods/besteffort/pod0a1b2c3d-0000-0000-0000-000000000000/{HEX}"),
        format!("/system.slice/containerd.service/{pod}:cri-containerd:{HEX}"),
        format!("/kubelet/kubepods/pod0a1b2c3d-0000-0000-0000-000000000000/{HEX}/init.scope"),
    ] {
        let (at, kind) = part(&path).unwrap();
        assert!(path.starts_with(&at) && at.contains(HEX), "{at}");
        assert_eq!(kind, CgroupKind::Pod { id: HEX.to_owned(), uid: "0a1b2c3d".to_owned() }, "{path}");
    }
}

#[test]
fn containers_units_and_jobs_are_known_and_a_login_is_nobody() {
    let kind = |path: &str| part(path).map(|(_, kind)| kind);
    for path in [format!("/system.slice/docker-{HEX}.scope"), format!("/docker/{HEX}")] {
        assert_eq!(kind(&path), Some(CgroupKind::Container(HEX.to_owned())));
    }
    let podman = format!("/machine.slice/libpod-{HEX}.scope/container");
    assert_eq!(part(&podman).unwrap().0, format!("/machine.slice/libpod-{HEX}.scope"));
    assert_eq!(kind("/system.slice/system-vllm.slice/vllm@a.service"), Some(CgroupKind::Unit("vllm@a".to_owned())));
    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/vllm.service";
    assert_eq!(kind(user), Some(CgroupKind::Unit("vllm".to_owned())));
    assert_eq!(
        kind("/system.slice/slurmstepd.scope/job_17/step_0/user/task_0"),
        Some(CgroupKind::Job("job-17".into()))
    );
    for path in ["/", "/user.slice/user-0.slice/session-3.scope", "/init.scope", "/../.."] {
        assert_eq!(kind(path), None, "{path}");
    }
    let login = "/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope";
    assert_eq!(kind(login), None);
    assert_eq!(kind(&format!("/machine.slice/libpod-conmon-{HEX}.scope")), None);
}

#[test]
fn on_a_hybrid_host_the_hierarchy_that_names_an_owner_counts() {
    let table = format!("4:memory:/docker/{HEX}\n1:name=systemd:/docker/{HEX}\n0::/\n");
    assert_eq!(owning_cgroup(&table).unwrap().0, format!("/docker/{HEX}"));
    assert_eq!(owning_cgroup("garbage\n0:\n"), None);
}

#[test]
fn a_pod_is_called_by_its_workload_over_roll_outs() {
    for (pod, of) in [
        ("qwen-7d9f8b6c5-x2x4z", "qwen"),
        ("qwen-7d9f8b6c54-x2x4z", "qwen"),
        ("small-llms-0", "small-llms"),
        ("daemon-x2x4z", "daemon"),
        ("alone", "alone"),
        ("my-model-v1-abcde", "my-model-v1-abcde"),
        ("", ""),
    ] {
        assert_eq!(workload(pod), of, "{pod}");
    }
}

#[test]
fn kubelets_logs_name_pod_namespace_and_container() {
    let directory = tempfile::tempdir().unwrap();
    let [proc, logs] = ["proc", "logs"].map(|name| directory.path().join(name));
    fs::create_dir_all(proc.join("7")).unwrap();
    fs::create_dir(&logs).unwrap();
    let stat = format!("7 (python3) S 1 7 7 {}", "0 ".repeat(46));
    fs::write(proc.join("7/stat"), stat).unwrap();
    fs::write(proc.join("7/cgroup"), format!("0::/kubepods/pod{}/{HEX}\n", "0".repeat(36))).unwrap();
    let owners = Owners::at(&proc, &logs, directory.path());
    assert_eq!(owners.of(7).unwrap().unwrap().label, "pod-00000000");
    fs::write(logs.join(format!("qwen-7d9f8b6c5-x2x4z_prod_vllm-{HEX}.log")), "").unwrap();
    let owner = owners.of(7).unwrap().unwrap();
    assert_eq!((owner.label.as_str(), owner.container.namespace.as_str()), ("qwen-vllm", "prod"));
    assert!(owners.is_within(7, &owner.bounds));
    assert!(owners.of(8).unwrap().is_none());
}

#[test]
fn a_process_in_no_cgroup_of_its_own_is_called_by_the_program_of_its_group() {
    let owner = Owners::default().of(std::process::id()).unwrap().unwrap();
    assert!(!owner.label.is_empty() && owner.label.len() <= LONGEST, "{owner:?}");
    assert!(Owners::default().is_within(std::process::id(), &owner.bounds));
}

#[test]
fn an_owner_that_says_its_name_is_called_by_it() {
    let owners = Owners::default();
    let own = |owners: &Owners| owners.of(std::process::id()).unwrap().unwrap().label;
    let before = own(&owners);
    owners.clone().call(std::process::id(), "qwen a").unwrap();
    assert_eq!(own(&owners), "qwen-a");
    assert_eq!(own(&Owners::default()), before, "others do not know it");
}

#[test]
fn what_a_container_calls_itself_is_known_to_the_next_run() {
    let directory = tempfile::tempdir().unwrap();
    let (proc, file) = (directory.path().join("proc"), directory.path().join("called.json"));
    fs::create_dir_all(proc.join("7")).unwrap();
    fs::write(proc.join("7/stat"), format!("7 (python3) S 1 7 7 {}", "0 ".repeat(46))).unwrap();
    fs::write(proc.join("7/cgroup"), format!("0::/../{HEX}\n")).unwrap();
    let owners = || Owners::at(&proc, directory.path(), directory.path()).kept_in(&file);
    let label = |owners: Owners| owners.of(7).unwrap().unwrap().label;
    assert_eq!(label(owners()), HEX[..SHORT_ID]);
    owners().call(7, "qwen-a").unwrap();
    assert_eq!(label(owners()), "qwen-a");
    fs::write(&file, "garbage").unwrap();
    assert_eq!(label(owners()), HEX[..SHORT_ID]);
}

#[test]
fn labels_have_what_names_may_have() {
    assert_eq!(plain("vllm@a b"), "vllm-a-b");
    assert_eq!(plain("(sd-pam)"), "sd-pam");
    assert_eq!(plain("..."), "engine");
    assert_eq!(plain(&"x".repeat(100)).len(), LONGEST);
}
