//! The simulation, held against the recordings of a real H200: the same stories give the same lines of
//! the daemon and the server, the same errors and states, and delays within the measured ranges. Lower
//! bounds are strict; upper bounds leave room for a loaded machine.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lines::{assert_same_lines, stamp};
use super::play::{self, Play, now, until};

const FAR: Duration = Duration::from_secs(2);

/// A delay is no shorter than measured, and longer only by what a loaded machine adds.
fn assert_takes(what: &str, took: Duration, least: u64) {
    assert!(took >= Duration::from_millis(least), "{what} took {took:?}, less than {least} ms");
    assert!(took < Duration::from_millis(least) + FAR, "{what} took {took:?}, far more than {least} ms");
}

/// Asserts the time from a kill, or the last words, to the moment that the parent could reap.
fn assert_teardown_takes(play: &Play, took: Duration, least: u64) {
    assert_takes("the teardown", took, if play.holds() { least } else { 0 });
}

fn millis_between(log: &str, first: &str, second: &str) -> Duration {
    Duration::from_millis(u64::try_from(stamp(log, second) - stamp(log, first)).unwrap())
}

#[test]
fn a_clean_start_and_exit_reads_as_recorded() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 0.5");
    let b = play.ready_client("spin --seconds 1");
    for client in [a, b] {
        client.hears("done");
        assert!(client.reaped().1.success());
    }
    play.await_left(2);
    let log = play.quit();
    assert_same_lines("clean_start_and_exit", &log);
    assert_takes("start_server", millis_between(&log, "Cmd:start_server", "Ready"), 170);
}

#[test]
fn an_illegal_address_kills_every_client_and_the_server_heals() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let b = play.ready_client("fault --at 0.5");
    let c = play.ready_client("spin --seconds 20");
    let (faulted, _) = b.hears("FAULTING");
    let errors: Vec<Duration> = [&a, &b, &c].iter().map(|c| c.fails_with(700, "cudaErrorIllegalAddress")).collect();
    assert_takes("the error", errors[0] - faulted, 86 + 20);
    let last = [a, b, c].iter().map(|client| client.reaped()).max_by_key(|(when, _)| *when).unwrap();
    assert_eq!(last.1.code(), Some(3));
    assert_teardown_takes(&play, last.0 - errors[0], 120);
    let d = play.ready_client("spin --seconds 0.2");
    assert!(d.reaped().1.success());
    play.await_left(4);
    let log = play.quit();
    assert_same_lines("illegal_address_clients_exit", &log);
    let kernel = std::fs::read_to_string(play.stage.kernel_log()).unwrap();
    assert!(kernel.contains(",-;NVRM: Xid (PCI:0000:00:06): 31, pid="), "{kernel}");
}

#[test]
fn clients_that_linger_hold_fault_and_newcomers_are_refused() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --linger --seconds 20");
    let b = play.ready_client("fault --at 0.3 --linger");
    let c = play.ready_client("spin --linger --seconds 20");
    for client in [&a, &b, &c] {
        client.fails_with(700, "cudaErrorIllegalAddress");
        client.hears("lingering");
    }
    let server = play.server();
    assert_eq!(play.command(&format!("get_server_status {server}")).stdout, "FAULT\n");
    let list = format!("{}\n{}\n{}\n", a.pid, b.pid, c.pid);
    assert_eq!(play.command(&format!("get_client_list {server}")).stdout, list);
    play.client("spin").fails_with(807, "cudaErrorMpsServerNotReady");
    let killed = [&b, &c, &a].map(|client| client.kill(Signal::SIGKILL))[0];
    let last = [&a, &b, &c].map(|client| client.reaped().0).into_iter().max().unwrap();
    assert_teardown_takes(&play, last - killed, 105);
    play.await_left(3);
    assert_eq!(play.command(&format!("get_server_status {server}")).stdout, "ACTIVE\n");
    let d = play.ready_client("spin --seconds 0.2");
    assert!(d.reaped().1.success());
    play.await_left(4);
    assert_same_lines("illegal_address_clients_linger", &play.quit());
}

#[test]
fn a_trap_reaches_the_culprit_first_and_blames_nobody() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let b = play.ready_client("trap --at 0.5");
    let c = play.ready_client("spin --seconds 20");
    let (trapped, _) = b.hears("FAULTING");
    let first = b.fails_with(719, "cudaErrorLaunchFailure");
    let others = [&a, &c].map(|client| client.fails_with(719, "cudaErrorLaunchFailure"));
    assert_takes("the culprit's error", first - trapped, 13);
    others.iter().for_each(|other| assert_takes("another's error", *other - trapped, 110));
    [a, b, c].iter().for_each(|client| assert_eq!(client.reaped().1.code(), Some(3)));
    play.await_left(3);
    assert_same_lines("trap_clients_exit", &play.quit());
    let kernel = std::fs::read_to_string(play.stage.kernel_log()).unwrap();
    assert!(kernel.contains("43, pid=") && kernel.contains("name=nvidia-cuda-mps, channel 0x0000000a"), "{kernel}");
}

#[test]
fn clients_killed_in_the_reset_after_a_trap_are_gone_and_the_server_heals() {
    let play = Play::with_server();
    let clients = ["spin --seconds 20", "trap --at 0.1", "spin --seconds 20"].map(|story| play.ready_client(story));
    until("the fatal line is there", || play.log().contains("Server is handling a fatal GPU error."));
    for client in &clients {
        client.kill(Signal::SIGKILL);
    }
    clients.iter().for_each(|client| assert!(!client.reaped().1.success()));
    play.await_left(3);
    assert_eq!(play.command(&format!("get_server_status {}", play.server())).stdout, "ACTIVE\n");
}

#[test]
fn a_terminated_control_daemon_ends_by_the_signal_and_its_server_with_it() {
    let mut play = Play::with_server();
    let client = play.ready_client("spin --seconds 20");
    kill(Pid::from_raw(play.control.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(play.control.wait().unwrap().signal(), Some(15));
    client.fails_with(806, "cudaErrorMpsRpcFailure");
    until("the server is gone", || play.stage.ask_gpu("servers").unwrap().is_empty());
    play.start_control_again();
}

#[test]
fn killing_a_client_with_a_long_kernel_kills_its_neighbours() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let c = play.ready_client("spin --seconds 20 --us 20000000");
    until("its kernel runs", || play.stage.ask_gpu("running").unwrap().contains(&c.pid.to_string()));
    let killed = c.kill(Signal::SIGKILL);
    let error = a.fails_with(700, "cudaErrorIllegalAddress");
    assert_takes("the neighbour's error", error - killed, 130);
    assert_eq!(a.reaped().1.code(), Some(3));
    c.reaped();
    play.await_left(2);
    assert_same_lines("sigkill_busy_client", &play.quit());
}

#[test]
fn killing_an_idle_client_harms_nobody() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 1.5");
    let c = play.ready_client("spin --seconds 20 --us 10 --gap 5000000");
    let killed = c.kill(Signal::SIGKILL);
    assert_teardown_takes(&play, c.reaped().0 - killed, 35);
    a.hears("done");
    a.reaped();
    play.await_left(2);
    assert_same_lines("sigkill_idle_client", &play.quit());
}

#[test]
fn a_hung_client_is_terminated_without_harm() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 2");
    let c = play.ready_client("hang --at 0.2");
    c.hears("HANGING");
    let server = play.server();
    assert_eq!(play.command(&format!("terminate_client {server} {}", c.pid)).stdout, "0\n");
    c.fails_with(810, "cudaErrorMpsClientTerminated");
    assert_eq!(c.reaped().1.code(), Some(3));
    a.hears("done");
    a.reaped();
    play.await_left(2);
    assert_same_lines("terminate_client_hung", &play.quit());
}

#[test]
fn a_killed_server_takes_its_clients_along_and_the_next_client_starts_another() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let b = play.ready_client("spin --seconds 20 --linger");
    let server = play.server();
    kill(Pid::from_raw(server.cast_signed()), Signal::SIGKILL).unwrap();
    a.fails_with(806, "cudaErrorMpsRpcFailure");
    b.fails_with(806, "cudaErrorMpsRpcFailure");
    until("the daemon says so", || play.log().contains(&format!("Server {server} exited with status 0")));
    assert_eq!(play.command("get_server_list").stdout, "");
    let d = play.ready_client("spin --seconds 0.3");
    assert!(d.reaped().1.success());
    play.await_left(1);
    b.kill(Signal::SIGKILL);
    assert_eq!(play.command("get_server_list").stdout, format!("{}\n", play.server()));
    assert_same_lines("server_sigkill", &play.quit());
}

#[test]
fn a_killed_control_daemon_takes_its_server_along_and_clients_then_run_outside_mps() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let server = play.server();
    play.control.kill().unwrap();
    play.control.wait().unwrap();
    a.fails_with(806, "cudaErrorMpsRpcFailure");
    let said = play.command("get_server_list");
    assert_eq!((said.status, said.stderr.as_str()), (1, "Cannot find MPS control daemon process\n"));
    let d = play.client("spin --seconds 20");
    d.hears("context ready");
    until("the server is gone", || !play.stage.ask_gpu("compute").unwrap().contains(&format!("{server}:")));
    assert!(play.stage.ask_gpu("compute").unwrap().contains(&format!("{}:", d.pid)));
    assert!(!play.stage.ask_gpu("mps").unwrap().contains(&format!("{}:", d.pid)));
    assert_same_lines("control_sigkill", &play.log());
    play.start_control_again();
    play.start_server();
    assert!(d.lives());
}

#[test]
fn a_quit_with_clients_ends_by_force() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 20");
    let began = now();
    let log = play.quit();
    assert_takes("the quit", now() - began, 2000);
    a.fails_with(806, "cudaErrorMpsRpcFailure");
    assert_same_lines("quit_forced_with_client", &log);
}

#[test]
fn commands_are_answered_word_for_word() {
    let play = Play::begin();
    let uuid = play.stage.gpu_uuid().to_owned();
    let devices = |server: &str| {
        let header = "Device Ordinal,PCI IDs,UUID,Name,Attributes";
        format!("{server}\n{header}\n0,0000:00.06.00,{uuid},NVIDIA H200,N/A\n")
    };
    let without_server = [
        ("help", "Unknown command \"help\"\n".to_owned()),
        ("?", "Unknown command \"?\"\n".to_owned()),
        ("get_server_list", String::new()),
        ("ps", "Server not found\n".to_owned()),
        ("lspart", "Unknown command \"lspart\"\n".to_owned()),
        ("get_default_active_thread_percentage", "100.0\n".to_owned()),
        ("get_default_device_pinned_mem_limit 0", String::new()),
        ("get_server_status 1", "Server 1 not found\n".to_owned()),
        ("get_default_client_priority", "0\n".to_owned()),
        ("version", "Unknown command \"version\"\n".to_owned()),
        ("device_query --csv", devices("Default")),
    ];
    without_server.iter().for_each(|(command, answer)| assert_answer(&play, command, answer));
    play.start_server();
    let clients = [play.ready_client("spin --seconds 20"), play.ready_client("spin --seconds 20")];
    let (server, [a, b]) = (play.server(), clients.each_ref().map(|client| client.pid));
    let list = format!("[0] 00:00.0, NVIDIA H200\n{a}.1\n{b}.1\n");
    let with_server = [
        ("get_server_list".to_owned(), format!("{server}\n")),
        (format!("get_server_status {server}"), "ACTIVE\n".to_owned()),
        (format!("get_client_list {server}"), format!("{a}\n{b}\n")),
        (format!("get_active_thread_percentage {server}"), "100.0\n".to_owned()),
        (format!("get_device_pinned_mem_limit {server} 0"), String::new()),
        ("get_device_client_list 0".to_owned(), list.clone()),
        (format!("get_device_client_list {server} 0"), list),
        (format!("ps -p {a}"), format!("Server {a} not found\nServer {a} not found\n\n")),
        (format!("start_server -uid {}", nix::unistd::getuid()), String::new()),
        ("device_query --csv".to_owned(), format!("{}\n{}", devices("Default"), devices(&format!("Server {server}")))),
    ];
    with_server.iter().for_each(|(command, answer)| assert_answer(&play, command, answer));
    let table = play.command("ps").stdout;
    let header = "PID       ID        SERVER         DEVICE                    NAMESPACE      COMMAND        \n";
    assert!(table.starts_with(header), "{table}");
    let short: String = uuid.chars().take(22).collect();
    assert!(table.contains(&format!("\n{a:<10}{:<10}{server:<15}{short:<26}", 1)), "{table}");
}

fn assert_answer(play: &Play, command: &str, answer: &str) {
    let said = play.command(command);
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (0, answer, ""), "{command}");
}

#[test]
fn where_processes_cannot_be_held_their_memory_still_lingers() {
    let mut options = play::options(0);
    options.hold = false;
    let play = Play::on(&options);
    play.start_server();
    let stories = ["spin --memory 1GiB --seconds 20 --linger", "fault --at 0.3 --memory 1GiB --linger"];
    let clients = stories.map(|story| play.ready_client(story));
    for client in &clients {
        client.fails_with(700, "cudaErrorIllegalAddress");
    }
    for client in &clients {
        client.kill(Signal::SIGKILL);
        client.reaped();
    }
    assert!(play.memory_used() > 66 << 20);
    play.await_left(2);
    assert_eq!(play.memory_used(), 66 << 20);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused() {
    let play = Play::begin();
    let mut second = play.environment(Command::new(play.stage.control_binary()));
    let said = second.arg("-f").output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(said.stdout, b"An instance of this daemon is already running\n");
}

#[test]
fn two_groups_on_one_gpu_are_two_fault_domains() {
    let (play, other) = (Play::with_server(), tempfile::tempdir().unwrap());
    let other = play.another_daemon(other.path());
    let bystander = play.client_of("spin --seconds 20", other.directory());
    bystander.hears("context ready");
    let culprit = play.ready_client("fault --at 0.1");
    culprit.fails_with(700, "cudaErrorIllegalAddress");
    culprit.reaped();
    play.await_left(1);
    assert!(bystander.lives());
}

#[test]
fn a_busy_daemon_refuses_and_a_stopped_one_never_answers() {
    let play = Play::with_server();
    let _client = play.ready_client("spin --seconds 20");
    let mut quit = play.begin_command("quit -t 20");
    until("the daemon quits", || play.log().contains("Control will try"));
    let said = play.command("get_server_list");
    assert_eq!((said.status, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("Cannot send command to MPS control daemon process"));
    kill(Pid::from_raw(play.control.id().cast_signed()), Signal::SIGSTOP).unwrap();
    let mut stuck = play.begin_command("get_server_list");
    assert!(quit.try_wait().unwrap().is_none() && stuck.try_wait().unwrap().is_none());
    for mut child in [quit, stuck] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn device_memory_of_a_killed_client_comes_back_when_it_is_reaped() {
    let play = Play::with_server();
    until("the server's own context is there", || play.memory_used() >= 66 << 20);
    let before = play.memory_used();
    let client = play.ready_client("spin --memory 20GiB --seconds 20 --gap 1000");
    until("it holds its memory", || play.memory_used() == before + (20 << 30));
    client.kill(Signal::SIGKILL);
    client.reaped();
    until("the memory is back", || play.memory_used() == before);
}

#[test]
fn a_limit_on_pinned_memory_holds_under_mps_only() {
    let play = Play::with_server();
    let limited = play.client_with("spin --memory 2GiB --seconds 0.1", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1G");
    limited.fails_with(2, "cudaErrorMemoryAllocation");
    let nowhere = tempfile::tempdir().unwrap();
    let outside = play.client_of("spin --memory 2GiB --seconds 0.1", nowhere.path());
    outside.hears("done");
}

#[test]
fn running_out_of_device_memory_is_the_callers_alone() {
    let mut play = Play::with_server();
    let a = play.ready_client("spin --seconds 1.5");
    let c = play.ready_client("oom --at 0.1 --seconds 0.5");
    let (_, oom) = c.hears("OOM after");
    assert!(oom.contains("code=2 name=cudaErrorMemoryAllocation"), "{oom}");
    for client in [c, a] {
        client.hears("done");
        assert!(client.reaped().1.success());
    }
    play.await_left(2);
    assert_same_lines("device_oom", &play.quit());
}
