//! The stage: engines that behave as vLLM, the stand-in NVML library under the real nvml-wrapper, and
//! the faults that a stage can bring about.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mpswarden::host;
use mpswarden::host::engine_metrics::{self, MetricsError};
use mpswarden::host::http::{GetError, Peer};
use mpswarden::host::nvml::Driver;
use mpswarden::model::gpu::RecoveryAction;
use mpswarden::model::{EngineKind, EngineLoad};
use mpswarden::sim::Injection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use super::lines;
use super::play::{Play, until};

/// An engine process that ends with the test.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(play: &Play, name: &str) -> Engine {
    let argv = play.stage.engine_command(name);
    let mut command = play.environment(Command::new(&argv[0]));
    command.args(&argv[1..]).stdin(Stdio::null()).stderr(Stdio::piped());
    let engine = Engine(command.spawn().unwrap());
    until("the engine is healthy", || http(play, name, "GET /health", "").starts_with("HTTP/1.1 200"));
    engine
}

fn http(play: &Play, engine: &str, what: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(play.stage.engine_address(engine).unwrap()) else { return String::new() };
    let length = body.len();
    let _ = write!(stream, "{what} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// An engine's load as the watchdog reads it.
fn load(play: &Play, engine: &str) -> Result<EngineLoad, MetricsError> {
    let mut peer = Peer::new(&play.stage.engine_url(engine));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(engine_metrics::read(&mut peer, "/metrics", Duration::from_secs(2)))
}

fn complaint(engine: &mut Engine) -> String {
    let mut said = String::new();
    engine.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

fn nvml(play: &Play) -> Nvml {
    Nvml::builder().lib_path(play.stage.nvml_library().as_os_str()).init().unwrap()
}

#[test]
fn the_real_nvml_adapter_sees_the_simulated_gpu() {
    let play = Play::with_server();
    let nvml = nvml(&play);
    assert_eq!(nvml.device_count().unwrap(), 1);
    assert_eq!(nvml.sys_driver_version().unwrap(), "580.159.04");
    let device = nvml.device_by_uuid(play.stage.gpu_uuid()).unwrap();
    assert_eq!(device.uuid().unwrap(), play.stage.gpu_uuid());
    assert_eq!((device.index().unwrap(), device.name().unwrap().as_str()), (0, "NVIDIA H200 (simulated)"));
    assert_eq!(device.pci_info().unwrap().bus_id, "00000000:00:06.0");
    let memory = device.memory_info().unwrap();
    assert_eq!((memory.total, memory.used), (143_771 << 20, 66 << 20));
    assert_eq!(device.field_values_for(&[nvml_wrapper::structs::device::FieldId(230)]).unwrap().len(), 1);
    device.utilization_rates().unwrap();
    device.compute_mode().unwrap();
}

#[test]
fn nvml_lists_clients_servers_and_what_runs_outside_mps() {
    let play = Play::with_server();
    let client = play.ready_client("spin --memory 2GiB --seconds 20");
    play.stage.inject(Injection::ForeignProcess, None).unwrap();
    let nvml = nvml(&play);
    let device = nvml.device_by_index(0).unwrap();
    until("the three are there", || device.running_compute_processes().is_ok_and(|list| list.len() == 3));
    let clients = device.mps_running_compute_processes().unwrap();
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0].pid, client.pid);
    until("the memory is there", || {
        let clients = device.mps_running_compute_processes().unwrap();
        matches!(clients[0].used_gpu_memory, UsedGpuMemory::Used(bytes) if bytes == 2 << 30)
    });
}

#[test]
fn a_foreign_fault_raises_an_xid_and_harms_no_client() {
    let play = Play::with_server();
    let client = play.ready_client("spin --seconds 20");
    let nvml = nvml(&play);
    let set = nvml.create_event_set().unwrap();
    let set = nvml.device_by_index(0).unwrap().register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
    assert!(matches!(set.wait(1), Err(NvmlError::Timeout)));
    play.stage.inject(Injection::ForeignFault, None).unwrap();
    let event = set.wait(20_000).unwrap();
    assert!(format!("{event:?}").contains("31"), "{event:?}");
    assert!(client.lives());
    assert!(!play.log().contains("fatal GPU error"));
}

#[test]
fn a_gpu_off_the_bus_is_lost_to_nvml() {
    let play = Play::begin();
    let nvml = nvml(&play);
    let device = nvml.device_by_index(0).unwrap();
    device.memory_info().unwrap();
    play.stage.inject(Injection::Xid79, None).unwrap();
    assert!(matches!(device.memory_info(), Err(NvmlError::GpuLost)));
    let kernel = std::fs::read_to_string(play.stage.kernel_log()).unwrap();
    assert!(kernel.contains("NVRM: Xid (PCI:0000:00:06): 79, GPU has fallen off the bus."), "{kernel}");
}

#[test]
fn nvml_hangs_while_it_is_told_to() {
    let play = Play::begin();
    let nvml = nvml(&play);
    let file = play.stage.directory().join("nvml.hang");
    std::fs::write(&file, "").unwrap();
    let (to, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            to.send(nvml.device_by_index(0).and_then(|device| device.memory_info().map(|m| m.used)).unwrap())
        });
        assert!(answered.try_recv().is_err());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(answered.recv().unwrap(), 0);
    });
}

#[test]
fn an_engine_serves_completions_and_counts_them() {
    let mut play = Play::with_engines(1);
    play.start_server();
    let mut engine = start(&play, "qwen-a");
    let whole = http(&play, "qwen-a", "POST /v1/completions", r#"{"prompt": "a b c", "max_tokens": 4}"#);
    assert!(whole.contains(r#""completion_tokens":4"#), "{whole}");
    let body = r#"{"prompt": "a", "max_tokens": 3, "stream": true}"#;
    let streamed = http(&play, "qwen-a", "POST /v1/completions", body);
    assert_eq!(streamed.matches("data: {").count(), 3);
    assert!(streamed.trim_end().ends_with("data: [DONE]"), "{streamed}");
    let metrics = http(&play, "qwen-a", "GET /metrics", "");
    let total = "vllm:generation_tokens_total{engine=\"0\",model_name=\"Qwen/Qwen2.5-0.5B-Instruct\"} 7.0";
    assert!(metrics.contains(total), "{metrics}");
    assert!(engine.0.try_wait().unwrap().is_none());
    drop(engine);
    play.await_left(1);
    play.quit();
}

#[test]
fn engines_tell_their_load_as_vllm_and_sglang_do() {
    let play = Play::with_engines(3);
    play.start_server();
    let _engines = ["qwen-a", "qwen-b", "qwen-c"].map(|name| start(&play, name));
    for (name, model, kind) in [
        ("qwen-a", "Qwen/Qwen2.5-0.5B-Instruct", EngineKind::Vllm),
        ("qwen-c", "Qwen/Qwen2.5-3B-Instruct", EngineKind::Sglang),
    ] {
        http(&play, name, "POST /v1/completions", r#"{"prompt": "a b c", "max_tokens": 4}"#);
        let expected = EngineLoad {
            running: Some(0.0),
            waiting: Some(0.0),
            kv_cache: Some(0.0),
            prompt_tokens: Some(3.0),
            generation_tokens: Some(4.0),
            requests: Some(1.0),
            model: Some(model.into()),
            kind: Some(kind),
            ..EngineLoad::default()
        };
        // Whether it moves is of interest, not where it stands.
        let load = || EngineLoad { steps: None, asleep: None, ..load(&play, name).unwrap() };
        until("the last token is counted", || load() == expected);
    }
    assert!(http(&play, "qwen-c", "GET /metrics", "").contains("sglang:num_running_reqs{"));
}

#[test]
fn metrics_that_hang_fail_those_that_never_end_are_cut_off_and_health_goes_on() {
    let play = Play::with_engines(1);
    play.start_server();
    let _engine = start(&play, "qwen-a");
    play.stage.inject(Injection::MetricsFlood, None).unwrap();
    let flooded = load(&play, "qwen-a");
    let cut = |load: &EngineLoad| load.running.is_some();
    assert!(
        matches!(&flooded, Ok(load) if cut(load))
            || matches!(flooded, Err(MetricsError::Get(GetError::Timeout { .. })))
    );
    play.stage.inject(Injection::MetricsHang, None).unwrap();
    assert!(matches!(load(&play, "qwen-a"), Err(MetricsError::Get(GetError::Timeout { .. }))));
    assert!(http(&play, "qwen-a", "GET /health", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_activity_of_the_gpu_follows_its_kernels() {
    let play = Play::with_engines(1);
    play.start_server();
    let _engine = start(&play, "qwen-a");
    let driver = Driver::open(play.stage.nvml_library().to_str().unwrap()).unwrap();
    let read = || driver.read(&play.stage.gpu_uuid().into()).unwrap().activity;
    assert_eq!(read(), None, "one sample is none");
    play.stage.inject(Injection::Hang, None).unwrap();
    until("the kernel that never ends shows", || {
        read().is_some_and(|activity| {
            let ordered = activity.sm_occupancy < activity.dram_active && activity.dram_active < activity.sm_active;
            ordered && activity.tensor_active > Some(0.05) && activity.sm_active > Some(0.25)
        })
    });
}

#[test]
fn nvml_is_let_go_of_while_a_gpu_is_to_be_reset_and_opened_again_for_each_reading() {
    let play = Play::begin();
    let driver = Driver::open(play.stage.nvml_library().to_str().unwrap()).unwrap();
    let gpu = play.stage.gpu_uuid().into();
    let action = || driver.read(&gpu).unwrap().recovery_action;
    let followed = || driver.follow_xids(&gpu, |_| ControlFlow::Break(()));
    assert_eq!((action(), followed()), (Some(RecoveryAction::None), Ok(())));
    play.stage.inject(Injection::ResetNeeded, None).unwrap();
    assert_eq!((action(), action()), (Some(RecoveryAction::GpuReset), Some(RecoveryAction::GpuReset)));
    assert!(followed().is_err(), "an event set would keep the GPU from being reset");
    let kernel = std::fs::read_to_string(play.stage.kernel_log()).unwrap();
    assert!(
        kernel.contains("154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"),
        "{kernel}"
    );
    play.stage.inject(Injection::GpuRepaired, None).unwrap();
    assert_eq!((action(), followed()), (Some(RecoveryAction::None), Ok(())));
}

#[test]
fn a_gpu_that_comes_back_is_read_again_and_an_error_of_nvml_is_no_loss() {
    let play = Play::begin();
    let driver = Driver::open(play.stage.nvml_library().to_str().unwrap()).unwrap();
    let gpu = play.stage.gpu_uuid().into();
    play.stage.inject(Injection::Xid79, None).unwrap();
    assert!(matches!(driver.read(&gpu), Err(host::nvml::NvmlError::Lost { .. })));
    play.stage.inject(Injection::GpuRepaired, None).unwrap();
    driver.read(&gpu).unwrap();
    play.stage.inject(Injection::NvmlError, None).unwrap();
    assert!(matches!(driver.read(&gpu), Err(host::nvml::NvmlError::Gpu { .. })));
    play.stage.inject(Injection::NvmlWell, None).unwrap();
    driver.read(&gpu).unwrap();
}

#[test]
fn a_fault_in_one_engine_ends_all_busy_ones_with_pytorchs_words() {
    let play = Play::with_engines(2);
    play.start_server();
    let mut engines = [start(&play, "qwen-a"), start(&play, "qwen-b")];
    std::thread::scope(|scope| {
        let long = r#"{"prompt": "a", "max_tokens": 5000}"#;
        let sibling = scope.spawn(|| http(&play, "qwen-b", "POST /v1/completions", long));
        until("the sibling computes", || load(&play, "qwen-b").is_ok_and(|load| load.running == Some(1.0)));
        play.stage.inject(Injection::IllegalAddress, Some("qwen-a")).unwrap();
        let answer = sibling.join().unwrap();
        assert!(!answer.contains("completion_tokens"), "{answer}");
    });
    for engine in &mut engines {
        assert_eq!(engine.0.wait().unwrap().code(), Some(1));
        let said = complaint(engine);
        assert!(
            said.contains("torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
            "{said}"
        );
    }
}

#[test]
fn a_whole_group_killed_at_the_fatal_line_is_gone_when_the_driver_is_done() {
    let play = Play::with_engines(3);
    play.start_server();
    let names = ["qwen-a", "qwen-b", "qwen-c"];
    let mut engines = names.map(|name| start(&play, name));
    let cores = play.stage.ask_gpu("mps").unwrap();
    let cores: Vec<i32> = cores.split(' ').map(|core| core.split(':').next().unwrap().parse().unwrap()).collect();
    play.stage.inject(Injection::IllegalAddress, Some("qwen-b")).unwrap();
    until("the fatal line is there", || play.log().contains("Server is handling a fatal GPU error."));
    engines.iter_mut().for_each(|engine| engine.0.kill().unwrap());
    for core in cores {
        let _ = kill(Pid::from_raw(core), Signal::SIGKILL);
    }
    until("all memory is back", || play.memory_used() == 66 << 20);
    assert_eq!(play.stage.ask_gpu("mps").unwrap(), "");
    play.await_left(3);
    let log = play.log();
    let took = lines::stamp(&log, "disconnected") - lines::stamp(&log, "is handling a fatal");
    assert!((225..3000).contains(&took), "{took} ms");
}

#[test]
fn a_linger_leaves_every_busy_engine_alive_with_a_sticky_error() {
    let play = Play::with_engines(2);
    play.start_server();
    let mut engines = [start(&play, "qwen-a"), start(&play, "qwen-b")];
    play.stage.inject(Injection::Linger, Some("qwen-b")).unwrap();
    until("it is said", || play.log().contains("fatal GPU error"));
    let body = r#"{"prompt": "a", "max_tokens": 2}"#;
    let answer = http(&play, "qwen-a", "POST /v1/completions", body);
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(engines.iter_mut().all(|engine| engine.0.try_wait().unwrap().is_none()));
    assert_eq!(play.command(&format!("get_server_status {}", play.server())).stdout, "FAULT\n");
}

#[test]
fn killing_a_busy_engine_faults_its_siblings_and_an_idle_one_none() {
    let play = Play::with_engines(3);
    play.start_server();
    let mut engines = ["qwen-a", "qwen-b", "qwen-c"].map(|name| start(&play, name));
    play.stage.inject(Injection::SigkillIdle, Some("qwen-c")).unwrap();
    assert_eq!(engines[2].0.wait().unwrap().code(), Some(1));
    assert!(!play.log().contains("fatal GPU error"));
    play.stage.inject(Injection::SigkillBusy, Some("qwen-b")).unwrap();
    until("it is said", || play.log().contains("fatal GPU error"));
    assert_eq!(engines[1].0.wait().unwrap().code(), Some(1));
}

#[test]
fn a_zombie_leaves_its_gpu_process_behind() {
    let play = Play::with_engines(1);
    play.start_server();
    let mut engine = start(&play, "qwen-a");
    play.stage.inject(Injection::Zombie, None).unwrap();
    assert_eq!(engine.0.wait().unwrap().signal(), Some(9));
    assert!(play.stage.ask_gpu("mps").unwrap().contains(&(20u64 << 30).to_string()));
}

#[test]
fn an_engine_out_of_device_memory_dies_alone() {
    let play = Play::with_engines(2);
    play.start_server();
    let mut engines = [start(&play, "qwen-a"), start(&play, "qwen-b")];
    play.stage.inject(Injection::DeviceOom, None).unwrap();
    assert_eq!(engines[0].0.wait().unwrap().code(), Some(1));
    assert!(complaint(&mut engines[0]).contains("torch.OutOfMemoryError: CUDA out of memory."));
    assert!(engines[1].0.try_wait().unwrap().is_none());
}

#[test]
fn the_configuration_is_toml_with_every_engine() {
    let play = Play::with_engines(3);
    let table: toml::Table = play.stage.configuration("127.0.0.1:0").parse().unwrap();
    let group = &table["group"][0];
    assert_eq!(group["engine"].as_array().unwrap().len(), 3);
    assert_eq!(group["gpu"].as_str(), Some(play.stage.gpu_uuid()));
    let pipes = group["mps"]["pipe_directory"].as_str().unwrap();
    assert!(pipes.len() + "/control".len() < 107);
}

#[test]
fn an_engine_can_be_moved_outside_mps() {
    let play = Play::with_engines(1);
    play.start_server();
    let _engine = start(&play, "qwen-a");
    let inside = play.stage.ask_gpu("mps").unwrap();
    assert!(inside.contains(&(20u64 << 30).to_string()), "{inside}");
    play.stage.inject(Injection::OutsideMps, None).unwrap();
    until("it computes outside MPS", || {
        let outside = play.stage.ask_gpu("compute").unwrap();
        play.stage.ask_gpu("mps").unwrap().is_empty() && outside.contains(&(20u64 << 30).to_string())
    });
}

#[test]
fn nothing_outlives_the_stage() {
    let play = Play::with_engines(1);
    play.start_server();
    let mut engine = start(&play, "qwen-a");
    play.stage.inject(Injection::ControlWedge, None).unwrap();
    let core = http(&play, "qwen-a", "GET /sim/core", "");
    let core = core.rsplit("\r\n").next().unwrap().to_owned();
    drop(play);
    assert_eq!(engine.0.wait().unwrap().code(), Some(1));
    until("its core is gone", || !std::path::Path::new(&format!("/proc/{core}")).exists());
}
