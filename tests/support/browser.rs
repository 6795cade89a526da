//! A headless Chromium, driven by chromedriver over WebDriver. Dropping it ends both.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::needs;

const PATIENCE: Duration = Duration::from_secs(60);
/// Chromium looks for updates and hosts of its maker otherwise.
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--window-size=1280,900",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

/// How the page is looked at.
#[derive(Clone, Copy, Default)]
pub struct Look {
    /// A small phone's screen, 320 CSS pixels wide.
    pub phone: bool,
    /// Scripts don't run.
    pub without_script: bool,
}

impl Browser {
    /// Starts one; `None` where a program is missing.
    pub fn start(look: Look) -> Option<Browser> {
        let driver = needs::program("chromedriver", "chromium-driver")?;
        let chromium = needs::program("chromium", "chromium")?;
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(driver).arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let port = port_of(&mut child);
        let mut browser = Browser { driver: child, port, session: String::new(), _profile: profile };
        browser.open_session(&chromium, look);
        Some(browser)
    }

    fn open_session(&mut self, chromium: &Path, look: Look) {
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", self._profile.path().display()));
        let mut options = json!({ "binary": chromium, "args": flags });
        if look.phone {
            options["mobileEmulation"] = json!({ "deviceMetrics": { "width": 320, "height": 640, "pixelRatio": 2.0 } });
        }
        if look.without_script {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let answer = self.call("POST", "/session", &wanted);
        self.session = answer["sessionId"].as_str().expect("a session").to_owned();
    }

    /// Goes to a page and waits until it is loaded.
    pub fn go(&self, url: &str) {
        self.order("url", &json!({ "url": url }));
    }

    /// Runs a script's body in the page and gives what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.order("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Presses a key, as WebDriver spells it: U+E004 is Tab, U+E007 Enter.
    pub fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.order("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] }));
    }

    /// The text that a reader sees.
    pub fn text(&self) -> String {
        let body = self.order("element", &json!({ "using": "css selector", "value": "body" }));
        let id = body.as_object().and_then(|body| body.values().next()).and_then(Value::as_str).expect("a body");
        let path = format!("/session/{}/element/{id}/text", self.session);
        self.call("GET", &path, &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// Tells the page that the reader prefers `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.order("goog/cdp/execute", &command);
    }

    /// Keeps a picture of the page, whole, as `NAME.png` among the build's temporary files, for people to look at.
    pub fn picture(&self, name: &str) {
        let params = json!({ "captureBeyondViewport": true });
        let shot = self.order("goog/cdp/execute", &json!({ "cmd": "Page.captureScreenshot", "params": params }));
        let picture = STANDARD.decode(shot["data"].as_str().expect("a picture")).unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        fs::write(&path, picture).unwrap();
        eprintln!("picture: {}", path.display());
    }

    fn order(&self, what: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}/{what}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        // The driver keeps the connection whatever it was asked: its length ends the answer.
        let mut answer = BufReader::new(stream);
        let length = length_of(&mut answer);
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        let answer: Value = serde_json::from_slice(&text).unwrap();
        let value = &answer["value"];
        assert!(value.get("error").is_none(), "{path}: {value}");
        value.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// `ChromeDriver was started successfully on port 36441.`
fn port_of(driver: &mut Child) -> u16 {
    let said = BufReader::new(driver.stdout.take().expect("its output"));
    let told = said
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
    told.expect("chromedriver names its port")
}

fn length_of(answer: &mut impl BufRead) -> usize {
    let mut length = None;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            None if line.trim_end().is_empty() => return length.expect("a length"),
            _ => {}
        }
    }
}
