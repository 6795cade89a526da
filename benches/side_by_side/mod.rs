//! Exporters beside each other: each is scraped over one kept-alive loopback connection, in turns, so that what
//! else the machine does hits all of them. Prints scrapes, series, latencies, memory and how they compare.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mpswarden::export::http;
use mpswarden::host::clock;
use mpswarden::web::Gate;

use super::{exporting, full_status, later, series};

/// A stand-in's status is made anew after this.
const FRESH: Duration = Duration::from_secs(1);
const NODE: &str = "prometheus-node-exporter";
const PROCESS: &str = "prometheus-process-exporter";
const DEMO: &str = "mpswarden demo";
const FULL: &str = "8 groups of 48 engines";
const ANEW: &str = "the same, each page anew";

/// Turns of each exporter; its time is spread over them.
const TURNS: u32 = 5;
/// Upper bound for a program to answer, and for the demo's engines to serve.
const STARTS: Duration = Duration::from_secs(30);
/// Series a second, by those of either other exporter; of those whose pages are asked for more often than they change.
const LEAST_TIMES: f64 = 20.0;
/// Longest p99 of a small page, milliseconds.
const MOST_SMALL: f64 = 1.0;
const MOST_FULL: f64 = 15.0;
const MOST_ANEW: f64 = 60.0;
/// Most resident memory, MiB.
const MOST_MEMORY: f64 = 40.0;

/// One of them, running.
struct Exporting {
    name: &'static str,
    child: Child,
    connection: Connection,
    took: Vec<f64>,
    series: usize,
}

/// What was measured of one.
struct Measured {
    scrapes: f64,
    series: f64,
    p50: f64,
    p99: f64,
    memory: f64,
}

/// Measures each for `time`.
pub fn run(time: Duration) -> ExitCode {
    let mut all = start();
    for _ in 0..TURNS {
        for exporting in &mut all {
            exporting.scrape_for(time / TURNS);
        }
    }
    let measured: Vec<(&str, Measured)> = all.iter_mut().map(|one| (one.name, one.measured())).collect();
    println!("| | series | scrapes/s | series/s | p50 ms | p99 ms | peak MiB |\n|---|---|---|---|---|---|---|");
    for ((name, one), exporting) in measured.iter().zip(&all) {
        let Measured { scrapes, series, p50, p99, memory } = one;
        let size = exporting.series;
        println!("| {name} | {size} | {scrapes:.0} | {series:.0} | {p50:.2} | {p99:.2} | {memory:.1} |");
    }
    if verdict(&measured) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn verdict(measured: &[(&str, Measured)]) -> bool {
    let of = |wanted: &str| measured.iter().find(|(name, _)| *name == wanted).map(|(_, one)| one);
    let mut kept = true;
    for other in [NODE, PROCESS].into_iter().filter_map(|name| Some((name, of(name)?))) {
        for ours in [DEMO, FULL, ANEW].into_iter().filter_map(|name| Some((name, of(name)?))) {
            let times = ours.1.series / other.1.series;
            println!("{}: {times:.0} times the series a second of {}", ours.0, other.0);
            kept &= times >= LEAST_TIMES || ours.0 == ANEW;
        }
    }
    let within = |name: &str, most: f64| of(name).is_none_or(|one| one.p99 < most && one.memory < MOST_MEMORY);
    kept && within(DEMO, MOST_SMALL) && within(FULL, MOST_FULL) && within(ANEW, MOST_ANEW)
}

fn start() -> Vec<Exporting> {
    let own = std::env::current_exe().unwrap();
    let stand_in = |every: &str| {
        let mut command = Command::new(&own);
        command.args(["stand-in", "--every-ms", every]);
        command
    };
    let with = |program: &str, options: &[&str]| {
        let mut command = Command::new(program);
        command.args(options);
        command
    };
    let (node, process, demo) = (free(), free(), free());
    let listen = |option: &str, address: SocketAddr| format!("{option}={address}");
    let node_command = with(NODE, &[&listen("--web.listen-address", node), "--log.level=error"]);
    // Every process by its name, as its documentation begins; without smaps, which cost it most of its time.
    let names = tempfile::NamedTempFile::new().unwrap();
    fs::write(&names, "process_names: [{name: \"{{.Comm}}\", cmdline: [\".+\"]}]\n").unwrap();
    let names_option = format!("-config.path={}", names.path().display());
    let process_command =
        with(PROCESS, &[&listen("-web.listen-address", process), &names_option, "-gather-smaps=false"]);
    let demo_address = demo.to_string();
    let demo_options =
        ["demo", "--engines", "4", "--for", "30m", "--inject", "illegal-address@25m", "--web.listen-address"];
    let demo_command = with(env!("CARGO_BIN_EXE_mpswarden"), &[&demo_options[..], &[&demo_address]].concat());
    let others = [(NODE, node_command, node), (PROCESS, process_command, process), (DEMO, demo_command, demo)];
    let mut all: Vec<Exporting> = others
        .into_iter()
        .filter_map(|(name, command, address)| Exporting::start(name, command, Some(address)))
        .collect();
    all.extend(Exporting::start(FULL, stand_in("1000"), None));
    all.extend(Exporting::start(ANEW, stand_in("1"), None));
    all
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Serves eight groups of 48 engines through the real exporter and server, with a new status every so many
/// milliseconds, until stdin ends. Says where on stdout.
pub fn stand_in(every_ms: u64) {
    let (status, start) = (full_status(8, 48), clock::now());
    let first = later(&status, start);
    let exporting = exporting(&first);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = http::serve(
        Gate::new(None).unwrap(),
        &[any],
        "/metrics",
        Arc::clone(&exporting.exporter),
        Arc::new(|| true),
        Arc::new(clock::now),
    );
    let server = server.unwrap();
    println!("{}", server.local_addresses[0]);
    io::stdout().flush().unwrap();
    thread::spawn(move || {
        let mut statuses = [Arc::new(first), Arc::new(later(&status, clock::now()))];
        for turn in 0.. {
            // To make one takes longer than to publish it: of each second a new one, and in between the two last.
            if clock::now().since(statuses[1].at) >= FRESH {
                statuses = [Arc::clone(&statuses[1]), Arc::new(later(&status, clock::now()))];
            }
            exporting.publish(Arc::clone(&statuses[turn % 2]));
            thread::sleep(Duration::from_millis(every_ms));
        }
    });
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

impl Exporting {
    /// Starts it and waits until it answers; `None`, with a message, where it is not installed.
    fn start(name: &'static str, mut command: Command, address: Option<SocketAddr>) -> Option<Exporting> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = spawned else {
            eprintln!("SKIPPED: {name} is not installed; on Debian: apt-get install {name}");
            return None;
        };
        let address = address.unwrap_or_else(|| {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            line.trim().parse().unwrap()
        });
        // What a program prints is not read: it must not block on it.
        if let Some(mut output) = child.stdout.take() {
            thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        }
        let connection = await_some("it answers", || Connection::open(address));
        let mut exporting = Exporting { name, child, connection, took: Vec::new(), series: 0 };
        if name == DEMO {
            await_some("its engines serve", || {
                let page = exporting.connection.scrape();
                let page = String::from_utf8_lossy(&page);
                let serving = page.lines().filter(|line| line.contains("state=\"serving\"} 1")).count();
                (serving == 5).then_some(())
            });
        }
        Some(exporting)
    }

    fn scrape_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let began = Instant::now();
            let page = self.connection.scrape();
            self.took.push(began.elapsed().as_secs_f64());
            // Counting takes its time, and belongs to no exporter.
            if self.series == 0 {
                self.series = series(&page);
            }
        }
    }

    fn measured(&mut self) -> Measured {
        self.took.sort_by(f64::total_cmp);
        let at = |share: f64| 1e3 * self.took[((self.took.len() - 1) as f64 * share).round() as usize];
        let scrapes = self.took.len() as f64 / self.took.iter().sum::<f64>();
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let memory = peak.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0;
        Measured { scrapes, series: scrapes * self.series as f64, p50: at(0.5), p99: at(0.99), memory }
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let _ = kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + STARTS;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {STARTS:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A kept-alive connection, as Prometheus has one.
struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    fn open(address: SocketAddr) -> Option<Connection> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(STARTS)).unwrap();
        Some(Connection { stream: BufReader::with_capacity(1 << 18, stream), address })
    }

    /// One page; on a new connection where the last one ended, as it does after a while.
    fn scrape(&mut self) -> Vec<u8> {
        self.ask().or_else(|_| self.reopened().ask()).expect("a page")
    }

    fn reopened(&mut self) -> &mut Self {
        *self = Connection::open(self.address).expect("it still listens");
        self
    }

    fn ask(&mut self) -> io::Result<Vec<u8>> {
        self.stream.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        let (mut length, mut chunked, mut status) = (0, false, String::new());
        self.stream.read_line(&mut status)?;
        if !status.contains(" 200 ") {
            return Err(io::Error::other(status));
        }
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
            }
        }
        if chunked { self.chunks() } else { self.exactly(length) }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut page = vec![0; length];
        self.stream.read_exact(&mut page)?;
        Ok(page)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut page = Vec::new();
        loop {
            let mut size = String::new();
            self.stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let chunk = self.exactly(size + 2)?;
            page.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Ok(page);
            }
        }
    }
}
