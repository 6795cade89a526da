//! What the chart promises: the node agent can change nothing, and all that containers are started with is understood.

use std::ffi::OsString;
use std::path::Path;

use mpswarden::cli::Arguments;
use mpswarden::model::Mode;
use serde_json::{Value, json};

use super::tools::{Tools, objects, one};

fn agent(tools: &Tools, arguments: &[&str]) -> Value {
    one(&objects(&tools.made(arguments)), "DaemonSet")["spec"]["template"]["spec"].clone()
}

fn sidecar(tools: &Tools, arguments: &[&str]) -> Value {
    let values = ["--values", "tests/kubernetes/on.yaml"];
    one(&objects(&tools.made(&[&values[..], arguments].concat())), "Deployment")["spec"]["template"]["spec"].clone()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let all = ["initContainers", "containers"].into_iter().flat_map(|kind| pod[kind].as_array().into_iter().flatten());
    let mut found = all.into_iter().filter(|container| container["name"] == name);
    found.next().unwrap_or_else(|| panic!("no container {name}"))
}

/// The command line of mpswarden that a container has.
fn assert_understood(words: &[String]) {
    let typed = std::iter::once("mpswarden").chain(words.iter().map(String::as_str)).map(OsString::from);
    assert!(Arguments::read(&typed.collect::<Vec<_>>()).is_ok(), "{words:?}");
}

#[test]
fn the_node_agent_has_no_right_to_end_what_other_users_run_and_asks_nobody() {
    let Some(tools) = Tools::find() else { return };
    let made = objects(&tools.made(&["--values", "tests/kubernetes/on.yaml"]));
    let kinds: Vec<&str> = made.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert!(kinds.iter().all(|kind| !kind.contains("Role")), "{kinds:?}");
    let pod = agent(&tools, &[]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["hostPID"], true);
    assert!(pod["hostNetwork"].is_null() && pod["hostIPC"].is_null());
    let container = container(&pod, "mpswarden");
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": ["SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG"]}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert!(security["privileged"].is_null());
    let writable: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["readOnly"] != true)
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(writable, ["/var/lib/mpswarden", "/run/mpswarden", "/tmp"]);
}

#[test]
fn the_node_agent_runs_on_nodes_with_mps_alone_and_leaves_before_a_driver_is_upgraded() {
    let Some(tools) = Tools::find() else { return };
    let selector = json!({"nvidia.com/mps.capable": "true", "nvidia.com/gpu.deploy.client": "true"});
    assert_eq!(agent(&tools, &[])["nodeSelector"], selector);
    let without = agent(&tools, &["--set", "agent.nodeSelector.nvidia\\.com/gpu\\.deploy\\.client=null"]);
    assert_eq!(without["nodeSelector"], json!({"nvidia.com/mps.capable": "true"}));
}

#[test]
fn the_node_agents_configuration_is_accepted_and_observes() {
    let Some(tools) = Tools::find() else { return };
    for arguments in [&[][..], &["--set", "engine.port=8000,engine.kind=vllm,agent.kernelLog=/var/log/kern.log"]] {
        let made = objects(&tools.made(arguments));
        let text = one(&made, "ConfigMap")["data"]["mpswarden.toml"].as_str().unwrap().to_owned();
        let read = mpswarden::config::parse(&text, Path::new("mpswarden.toml"));
        let read = read.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(read.discover.mode, Mode::Observe);
        let patterns: Vec<&str> = read.discover.pipe_directories.iter().map(|pattern| pattern.as_str()).collect();
        assert_eq!(patterns, ["/run/nvidia/mps/*/*/pipe"]);
        assert_eq!(read.discover.engine.port, (!arguments.is_empty()).then_some(8000));
    }
}

#[test]
fn what_containers_are_started_with_is_understood() {
    let Some(tools) = Tools::find() else { return };
    assert_understood(&words(&container(&agent(&tools, &[]), "mpswarden")["args"]));
    for set in ["sidecar.restartBy=nobody", "sidecar.restartBy=pod"] {
        let pod = sidecar(&tools, &["--set", set]);
        assert_understood(&words(&container(&pod, "mpswarden")["args"]));
        assert_understood(&words(&container(&pod, "gate")["args"]));
        for engine in ["qwen-a", "qwen-b"] {
            let engine = container(&pod, engine);
            for command in [&engine["command"], &engine["readinessProbe"]["exec"]["command"]] {
                let mut words = words(command);
                assert_eq!(std::mem::replace(&mut words[0], "gate".to_owned()), "/gate/mpswarden-gate");
                assert_understood(&words);
            }
        }
    }
}

#[test]
fn the_sidecars_are_native_and_the_whole_pod_restarts_by_88_where_that_is_wanted() {
    let Some(tools) = Tools::find() else { return };
    let pod = sidecar(&tools, &[]);
    let names: Vec<&str> =
        pod["initContainers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gate", "mps", "mpswarden"], "in the order in which they start");
    for name in ["mps", "mpswarden"] {
        assert_eq!(container(&pod, name)["restartPolicy"], "Always", "{name}");
    }
    assert!(container(&pod, "gate")["restartPolicy"].is_null(), "it ends");
    assert_eq!(pod["shareProcessNamespace"], true);
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]);
    assert_eq!(container(&pod, "mpswarden")["restartPolicyRules"], rules);
    let usual = sidecar(&tools, &["--set", "sidecar.restartBy=nobody"]);
    assert!(container(&usual, "mpswarden")["restartPolicyRules"].is_null());
}

#[test]
fn all_containers_of_the_pod_share_its_gpu_and_its_memory() {
    let Some(tools) = Tools::find() else { return };
    let pod = sidecar(&tools, &[]);
    assert_eq!(pod["resourceClaims"][0]["name"], "gpu");
    for name in ["mps", "mpswarden", "qwen-a", "qwen-b"] {
        assert_eq!(container(&pod, name)["resources"]["claims"], json!([{"name": "gpu"}]), "{name}");
    }
    for name in ["mps", "qwen-a", "qwen-b"] {
        let mounts = container(&pod, name)["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|mount| mount["mountPath"] == "/dev/shm"), "{name}");
    }
}
