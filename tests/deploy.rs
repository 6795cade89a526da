//! What `deploy/` holds works as far as it can be tried without systemd as init, a container engine or a GPU:
//! the unit verifies, the package installs, Prometheus loads its configuration, every path leads somewhere.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mpswarden::cli::Arguments;
use serde_json::Value;

use crate::support::needs;

/// The most exposure that the unit may have, of 100; its comments say why it is not less.
const EXPOSURE: &str = "60";

fn deploy(path: &str) -> PathBuf {
    Path::new("deploy").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs it; panics with what it said unless it ends with 0.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

fn mpswarden() -> &'static str {
    env!("CARGO_BIN_EXE_mpswarden")
}

#[test]
fn the_example_configuration_is_accepted_as_it_is_and_with_every_line_uncommented() {
    run(Command::new(mpswarden()).arg("check").arg(deploy("mpswarden.toml")));
    // Lines of TOML that are commented out; the head is prose.
    let is_toml = |line: &str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
    let lines = text("mpswarden.toml");
    let lines = lines.lines().map(|line| if is_toml(line) { &line[2..] } else { line }).collect::<Vec<_>>();
    let text = lines.join("\n");
    assert!(text.lines().filter(|line| line.starts_with("on_")).count() == 4, "{text}");
    mpswarden::config::parse(&text, Path::new("mpswarden.toml"))
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
}

/// The unit with the binary under test in the place of the installed one.
fn unit(directory: &Path) -> PathBuf {
    let file = directory.join("mpswarden.service");
    fs::write(&file, text("mpswarden.service").replace("/usr/bin/mpswarden", mpswarden())).unwrap();
    file
}

#[test]
fn the_unit_verifies_and_exposes_no_more_than_it_says() {
    let Some(analyze) = needs::program("systemd-analyze", "systemd") else { return };
    let directory = tempfile::tempdir().unwrap();
    let unit = unit(directory.path());
    let verified = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&unit));
    assert!(verified.stderr.is_empty(), "{}", String::from_utf8_lossy(&verified.stderr));
    let threshold = format!("--threshold={EXPOSURE}");
    run(Command::new(&analyze).args(["security", "--offline=true", &threshold, "--no-pager"]).arg(&unit));
}

#[test]
fn the_units_of_engines_verify_and_name_the_same_daemon_and_one_user() {
    let Some(analyze) = needs::program("systemd-analyze", "systemd") else { return };
    let directory = tempfile::tempdir().unwrap();
    for name in ["mps-control.service", "mps-engine@.service"] {
        let file = directory.path().join(name.replace('@', "@qwen-a"));
        let unit = text(name).replace("/usr/bin/mpswarden", mpswarden());
        fs::write(&file, unit.replace("/usr/bin/nvidia-cuda-mps-control", mpswarden())).unwrap();
        let verified = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&file));
        assert!(verified.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&verified.stderr));
    }
    let directory = "CUDA_MPS_PIPE_DIRECTORY=/run/mps/pipe";
    assert!(text("mps-control.service").contains(directory) && text("mps-engine@.service").contains(directory));
    assert!(text("mpswarden.service").contains("-/run/mps\n"), "the gate's socket can be made there");
    assert_eq!(text("mps-engine@.service").matches("User=mpswarden\n").count(), 1);
}

#[test]
fn the_unit_stops_in_order_and_gives_each_directory_its_mode() {
    let unit = text("mpswarden.service");
    let lines: Vec<&str> = unit.lines().collect();
    for line in [
        "Type=notify",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "OOMScoreAdjust=-900",
        "Delegate=yes",
        "Restart=on-failure",
        "RestartPreventExitStatus=64 77 78",
        "RuntimeDirectory=mpswarden",
        "RuntimeDirectoryMode=0755",
        "StateDirectoryMode=0711",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(lines.iter().all(|line| !line.starts_with("PrivateDevices") && !line.starts_with("ProtectClock")));
}

/// A copy of what a package is made from, with the binary under test in the place of a release build.
fn source(directory: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["benches", "build.rs", "src", "tests", "docs", "deploy", "alerts", "dashboards", "README.md"] {
        symlink(root.join(name), directory.join(name)).unwrap();
    }
    for name in ["Cargo.toml", "Cargo.lock", "LICENSE"] {
        fs::copy(root.join(name), directory.join(name)).unwrap();
    }
    fs::create_dir_all(directory.join("target/release")).unwrap();
    symlink(mpswarden(), directory.join("target/release/mpswarden")).unwrap();
}

/// Builds the package.
fn package(directory: &Path) -> Option<PathBuf> {
    package_of(directory, &format!("{}-1", env!("CARGO_PKG_VERSION")))
}

/// Builds the package with this version.
pub(crate) fn package_of(directory: &Path, version: &str) -> Option<PathBuf> {
    needs::program("cargo-deb", "cargo, then: cargo install cargo-deb --locked")?;
    needs::program("dpkg-shlibdeps", "dpkg-dev")?;
    source(directory);
    let package = directory.join("mpswarden.deb");
    let mut command = Command::new(directory.join("deploy/package"));
    command.env("PACKAGED", mpswarden()).args(["--fast", "--deb-version", version, "--output"]);
    command.arg(&package).current_dir(directory);
    run(command.env_remove("CARGO_TARGET_DIR"));
    Some(package)
}

#[test]
fn the_package_installs_what_it_promises_and_stops_nothing_on_an_upgrade() {
    let directory = tempfile::tempdir().unwrap();
    let Some(package) = package(directory.path()) else { return };
    let (root, control) = (directory.path().join("root"), directory.path().join("control"));
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root));
    run(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&control));
    let binary = root.join("usr/bin/mpswarden");
    run(Command::new(&binary).arg("--version"));
    run(Command::new(&binary).arg("check").arg(root.join("etc/mpswarden/mpswarden.toml")));
    assert_eq!(fs::metadata(root.join("etc/mpswarden/mpswarden.toml")).unwrap().permissions().mode() & 0o777, 0o640);
    for file in [
        "usr/lib/systemd/system/mpswarden.service",
        "usr/lib/sysusers.d/mpswarden.conf",
        "usr/lib/tmpfiles.d/mpswarden.conf",
        "usr/share/doc/mpswarden/deploy.md",
        "usr/share/doc/mpswarden/runbooks/README.md",
        "usr/share/man/man1/mpswarden.1.gz",
        "usr/share/man/man1/mpswarden-status.1.gz",
        "usr/share/bash-completion/completions/mpswarden",
        "usr/share/zsh/vendor-completions/_mpswarden",
        "usr/share/fish/vendor_completions.d/mpswarden.fish",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    for folder in ["alerts", "dashboards"] {
        assert!(fs::read_dir(root.join("usr/share/mpswarden").join(folder)).unwrap().next().is_some(), "{folder}");
    }
    assert_eq!(fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/mpswarden/mpswarden.toml\n");
    stops_only_on_removal(&control);
}

/// The one command that stops the service stands under the one condition that allows it.
fn stops_only_on_removal(control: &Path) {
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let Ok(text) = fs::read_to_string(control.join(script)) else { continue };
        let acts =
            |line: &&str| ["stop", "restart", "start"].iter().any(|verb| line.contains(&format!("invoke {verb}")));
        let lines: Vec<&str> = text.lines().collect();
        for at in (0..lines.len()).filter(|at| acts(&lines[*at])) {
            assert!(script == "prerm" && lines[at].contains("invoke stop"), "{script}: {}", lines[at]);
            assert!(lines[at - 1].contains("[ \"$1\" = remove ]"), "{text}");
        }
    }
}

#[test]
fn lintian_finds_no_error_in_the_package() {
    let Some(lintian) = needs::program("lintian", "lintian") else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(package) = package(directory.path()) else { return };
    run(Command::new(lintian).args(["--allow-root", "--fail-on", "error"]).arg(package));
}

#[test]
fn the_package_has_the_versions_own_changelog() {
    let first = text("changelog").lines().next().unwrap().to_owned();
    assert!(first.starts_with(&format!("mpswarden ({}-1)", env!("CARGO_PKG_VERSION"))), "{first}");
}

/// What a page shows as Prometheus' configuration.
fn prometheus_of(page: &str) -> String {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut configurations = blocks.filter(|block| block.contains("scrape_configs"));
    configurations.next().expect("a configuration of Prometheus").to_owned()
}

#[test]
fn prometheus_loads_every_configuration_that_we_show_with_our_rules() {
    let Some(promtool) = needs::program("promtool", "prometheus") else { return };
    let installed = "/usr/share/mpswarden/alerts";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = root.join("alerts");
    let page = |path: &str| prometheus_of(&fs::read_to_string(root.join(path)).unwrap());
    for original in [text("prometheus/prometheus.yml"), page("README.md"), page("alerts/README.md")] {
        assert!(original.contains(installed) && original.contains("job_name: mpswarden"), "{original}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, original.replace(installed, &here.display().to_string())).unwrap();
        let checked = run(Command::new(&promtool).args(["check", "config"]).arg(&file));
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(said.contains("rules found"), "no rule was loaded: {said}");
    }
}

fn service<'a>(compose: &'a Value, name: &str) -> &'a Value {
    let service = &compose["services"][name];
    assert!(service.is_object(), "no service {name}");
    service
}

#[test]
fn every_path_that_compose_mounts_or_builds_from_is_there() {
    let compose = yaml("compose.yml");
    for name in ["mpswarden", "prometheus", "alertmanager", "grafana"] {
        let volumes = service(&compose, name)["volumes"].as_array().cloned().unwrap_or_default();
        for volume in volumes.iter().map(|volume| volume.as_str().unwrap()) {
            let (from, rest) = volume.split_once(':').unwrap();
            assert!(deploy(from).exists(), "{name} mounts {from}, which is not there");
            assert!(rest.ends_with(":ro"), "{volume}");
        }
    }
    let build = &service(&compose, "mpswarden")["build"];
    let context = deploy(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).is_file());
}

#[test]
fn what_compose_wires_together_agrees() {
    let compose = yaml("compose.yml");
    let ports: Vec<&str> =
        service(&compose, "mpswarden")["ports"].as_array().unwrap().iter().map(|port| port.as_str().unwrap()).collect();
    for port in ["10677", "9090", "9093", "3000"] {
        assert!(ports.contains(&format!("127.0.0.1:{port}:{port}").as_str()), "{port}");
    }
    let volumes = service(&compose, "grafana")["volumes"].to_string();
    let dashboards = yaml("grafana/provisioning/dashboards/mpswarden.yaml");
    let path = dashboards["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(volumes.contains(&format!("../dashboards:{path}:ro")), "{volumes}");
    let datasources = yaml("grafana/provisioning/datasources/prometheus.yaml");
    assert_eq!(datasources["datasources"][0]["url"], "http://localhost:9090");
    let prometheus = yaml("prometheus/prometheus.yml");
    assert_eq!(prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0], "localhost:10677");
    assert_eq!(prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0], "localhost:9093");
}

#[test]
fn engines_of_the_compose_file_stand_behind_the_gate_of_the_daemon_that_they_use() {
    let compose = yaml("engines.compose.yml");
    let words = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let understood = |words: &[String]| {
        let typed: Vec<_> = std::iter::once("mpswarden".into()).chain(words.iter().map(OsString::from)).collect();
        assert!(Arguments::read(&typed).is_ok(), "{words:?}");
    };
    let watchdog = words(&service(&compose, "mpswarden")["command"]);
    assert!(watchdog.contains(&"--gate".to_owned()), "{watchdog:?}");
    understood(&watchdog);
    for name in ["mps", "mpswarden"] {
        assert_eq!(service(&compose, name)["pid"], "host", "{name}: pids agree on the host alone");
    }
    for name in ["qwen-a", "qwen-b"] {
        let engine = service(&compose, name);
        let whole = [words(&engine["entrypoint"]), words(&engine["command"])].concat();
        assert_eq!(whole[0], "/gate/mpswarden-gate");
        understood(&[&["gate".to_owned()], &whole[1..]].concat());
        let probe = words(&engine["healthcheck"]["test"]);
        understood(&[&["gate".to_owned()], &probe[2..]].concat());
        let pipe = &service(&compose, "mps")["environment"]["CUDA_MPS_PIPE_DIRECTORY"];
        assert_eq!(&engine["environment"]["CUDA_MPS_PIPE_DIRECTORY"], pipe);
        assert_eq!(engine["ipc"], "service:mps");
    }
}

/// Instructions with their arguments, continued lines joined, comments gone.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    joined.lines().filter(|line| !line.trim().is_empty()).map(|line| split(line).expect(line)).collect()
}

#[test]
fn the_image_is_built_from_files_that_are_there_and_sent() {
    let known = ["FROM", "WORKDIR", "COPY", "ARG", "RUN", "ENV", "EXPOSE", "ENTRYPOINT", "CMD"];
    let ignored = fs::read_to_string(".dockerignore").unwrap();
    let mut stages = Vec::new();
    for (word, arguments) in instructions(&text("Dockerfile")) {
        assert!(known.contains(&word.as_str()), "{word}");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        match (word.as_str(), arguments.as_slice()) {
            ("FROM", [_, "AS", name]) => stages.push((*name).to_owned()),
            ("COPY", [from, ..]) if from.starts_with("--from=") => {
                assert!(stages.contains(&from["--from=".len()..].to_owned()), "{from}");
            }
            ("COPY", [paths @ .., _]) => {
                for path in paths.iter().map(|path| path.trim_start_matches("./")) {
                    assert!(Path::new(path).exists(), "{path} is not there");
                    assert!(ignored.lines().any(|line| line == format!("!{path}")), "{path} is not sent");
                }
            }
            ("ENTRYPOINT" | "CMD", words) => drop(serde_json::from_str::<Vec<String>>(&words.join(" ")).unwrap()),
            _ => {}
        }
    }
    assert_eq!(stages, ["build"]);
}

#[test]
fn the_list_of_packages_names_what_these_tests_need() {
    let list = fs::read_to_string(".ci/packages").unwrap();
    for package in ["systemd", "lintian", "prometheus", "dpkg-dev"] {
        assert!(list.lines().any(|line| line == package), "{package}");
    }
}
