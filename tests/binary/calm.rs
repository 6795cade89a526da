//! False alarms of the real binary: users' traffic, people who stop and start engines, and strangers that come, fault
//! and go. Nothing may be restarted, found or held back without an order.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mpswarden::sim::{Chance, Traffic};

use crate::binary::orders::done;
use crate::support::metrics::Metrics;
use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

const GROUP: &str = "small-llms";
/// Its one fault that a healthy machine may have: it is only reported.
const STRANGER: [(&str, &str); 1] = [("fault", "foreign_process")];

/// How long, how patient the watchdog is, and how long the longest prompt is read.
struct Plan {
    length: Duration,
    hang_after: &'static str,
    longest_prompt: Duration,
    /// Pause between two things that people or strangers do.
    pause: Duration,
}

/// A group under traffic, and all that was done to it.
struct Calm {
    scene: Scene,
    watchdog: Watchdog,
    chance: Chance,
    strangers: Vec<Child>,
    done: BTreeMap<String, u32>,
    /// Starts of each engine, by its place.
    starts: [u64; 3],
    daemons: usize,
}

impl Calm {
    fn begin(plan: &Plan) -> Calm {
        let mut scene = Scene::with(3);
        // A hang that is none would be acted on.
        scene.group().insert("policy".to_owned(), toml::toml! { hang = "enforce" }.into());
        for place in 0..3 {
            scene.engine(place).insert("hang_after".to_owned(), plan.hang_after.into());
            // Users go on asking whatever stops.
            scene.engine(place).insert("drain_timeout".to_owned(), "2s".into());
        }
        let watchdog = scene.serving();
        let (chance, done) = (Chance::new(11), BTreeMap::new());
        Calm { scene, watchdog, chance, strangers: Vec::new(), done, starts: [1; 3], daemons: 1 }
    }

    /// Waits in which only traffic is on: the end of the whole comes first.
    fn goes_on(&mut self, until: Instant, pause: Duration) -> bool {
        let pause = Instant::now() + pause;
        while Instant::now() < until.min(pause) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.strangers.retain_mut(|stranger| stranger.try_wait().unwrap().is_none());
        Instant::now() < until
    }

    fn order(&mut self, verb: &str, target: &str) {
        done(&self.scene, &[verb, target]);
        *self.done.entry(format!("ordered {verb}")).or_default() += 1;
    }

    fn something(&mut self) {
        let place = self.chance.below(3);
        let engine = format!("{GROUP}/qwen-{}", ['a', 'b', 'c'][place]);
        match self.chance.below(8) {
            0 => {
                self.order("restart", GROUP);
                self.starts.iter_mut().for_each(|starts| *starts += 1);
            }
            1 => {
                self.order("stop", GROUP);
                self.order("start", GROUP);
                self.starts.iter_mut().for_each(|starts| *starts += 1);
                self.daemons += 1;
            }
            2 | 3 => {
                self.order("stop", &engine);
                self.order("start", &engine);
                self.starts[place] += 1;
            }
            4 => {
                self.order("evict", &engine);
                self.starts[place] += 1;
            }
            5 => self.stranger("fault"),
            _ => self.stranger("spin"),
        }
    }

    /// A process outside MPS, for some seconds.
    fn stranger(&mut self, verb: &str) {
        let mut command = Command::new(self.scene.stage.program());
        command
            .args(["sim", "foreign", verb, "--name", "foreign", "--memory", "1GiB", "--us", "2000", "--gap", "20000"]);
        command.args(["--at", "1", "--seconds", &(2 + self.chance.below(8)).to_string()]);
        command.arg("--gpu").arg(self.scene.stage.gpu_socket());
        command.env("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent").env_remove("CUDA_VISIBLE_DEVICES");
        let stranger = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.strangers.push(stranger.unwrap());
        *self.done.entry(format!("strangers that {verb}")).or_default() += 1;
    }

    /// All that was found and done without an order.
    fn alarms(&self, metrics: &Metrics) -> Vec<String> {
        let unlike = |name: &str, expected: &[(&str, &str)]| metrics.sum(name, &[]) - metrics.sum(name, expected);
        let figures = [
            ("mps_faults_total", unlike("mps_faults_total", &STRANGER)),
            ("mps_restarts_total", unlike("mps_restarts_total", &[("reason", "operator")])),
            ("mps_actions_suppressed_total", metrics.sum("mps_actions_suppressed_total", &[])),
        ];
        let mut alarms: Vec<String> = figures.iter().filter(|(_, n)| *n != 0.0).map(|f| format!("{f:?}")).collect();
        let status = self.watchdog.status();
        for (place, starts) in self.starts.iter().enumerate() {
            let engine = &status["engines"][place];
            if engine["incarnation"].as_u64() != Some(*starts) {
                alarms.push(format!(
                    "{} was started {} times, {starts} of them ordered",
                    engine["name"], engine["incarnation"]
                ));
            }
        }
        alarms
    }

    /// Complaints about the control daemon's own log: every server that there was, was ordered, and none had a fault.
    fn log_of_the_daemon(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scene.directory().join("log/daemon.log")).unwrap_or_default();
        let faults = log.lines().filter(|line| line.contains("fatal GPU error")).count();
        let servers = log.lines().filter(|line| line.contains("Starting new server")).count();
        let fine = faults == 0 && servers <= self.daemons;
        if fine {
            Vec::new()
        } else {
            vec![format!("{servers} servers, {} ordered; {faults} fatal lines", self.daemons)]
        }
    }

    fn table(&self, plan: &Plan, requests: (u64, u64)) {
        eprintln!("{:>8.1} minutes", plan.length.as_secs_f64() / 60.0);
        eprintln!("{:>8} requests answered\n{:>8} requests failed (their engine was stopped)", requests.0, requests.1);
        self.done.iter().for_each(|(what, times)| eprintln!("{times:>8} {what}"));
        let mut events: BTreeMap<String, u32> = BTreeMap::new();
        for line in self.watchdog.lines().iter().filter(|line| !line.event().is_empty()) {
            *events.entry(line.event().to_owned()).or_default() += 1;
        }
        events.iter().for_each(|(event, times)| eprintln!("{times:>8} events: {event}"));
    }
}

fn calm(plan: &Plan) {
    let mut calm = Calm::begin(plan);
    let names: Vec<String> = calm.scene.stage.engine_names().map(str::to_owned).collect();
    let addresses = names.iter().filter_map(|name| calm.scene.stage.engine_address(name));
    let traffic = Traffic::of_users(addresses, 11, plan.longest_prompt).unwrap();
    let until = Instant::now() + plan.length;
    while calm.goes_on(until, plan.pause) {
        calm.something();
        let alarms = calm.alarms(&calm.watchdog.metrics());
        assert!(alarms.is_empty(), "{alarms:?}; the log:\n{}", calm.watchdog.told());
    }
    calm.watchdog.await_serving();
    eventually("the strangers' end", || {
        calm.strangers.retain_mut(|stranger| stranger.try_wait().unwrap().is_none());
        calm.strangers.is_empty().then_some(())
    });
    let mut alarms = calm.alarms(&calm.watchdog.metrics());
    alarms.extend(calm.log_of_the_daemon());
    calm.table(plan, traffic.finish());
    assert!(alarms.is_empty(), "{alarms:?}; the log:\n{}", calm.watchdog.told());
    calm.watchdog.stop();
    calm.scene.assert_nothing_is_left();
}

impl Drop for Calm {
    fn drop(&mut self) {
        for stranger in &mut self.strangers {
            let _ = stranger.kill();
            let _ = stranger.wait();
        }
    }
}

#[test]
fn healthy_traffic_and_what_people_and_strangers_do_are_no_fault() {
    calm(&Plan {
        length: Duration::from_secs(45),
        hang_after: "20s",
        longest_prompt: Duration::from_secs(4),
        pause: Duration::from_secs(2),
    });
}

/// `CALM_MINUTES=60 cargo test --test main an_hour -- --ignored --nocapture`
#[test]
#[ignore = "it takes an hour, or CALM_MINUTES"]
fn in_an_hour_of_healthy_traffic_nothing_is_found() {
    let minutes = std::env::var("CALM_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    calm(&Plan {
        length: Duration::from_secs(60 * minutes),
        hang_after: "60s",
        longest_prompt: Duration::from_secs(20),
        pause: Duration::from_secs(20),
    });
}
