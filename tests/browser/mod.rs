//! A real browser: Chromium without a window, spoken to by WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A session with one page; it ends with the value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it; nothing where chromedriver is missing.
    pub fn start() -> Option<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()?;
        let said = BufReader::new(driver.stdout.take().expect("piped"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let mut browser = Browser {
            driver,
            port: port.expect("chromedriver says its port"),
            session: String::new(),
            _profile: tempfile::tempdir().expect("a folder"),
        };
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1600,1000",
            &profile,
        ];
        let session = browser.call(
            "POST",
            "/session",
            json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = format!(
            "/session/{}",
            session["sessionId"].as_str().expect("a session")
        );
        Some(browser)
    }

    /// Opens a file.
    pub fn open(&self, file: &Path) {
        self.ask("url", json!({"url": format!("file://{}", file.display())}));
    }

    /// What a script returns.
    pub fn script(&self, script: &str) -> Value {
        self.ask("execute/sync", json!({"script": script, "args": []}))
    }

    /// Clicks what a CSS selector finds, as a person does: it must be there to be seen.
    pub fn click(&self, selector: &str) {
        self.ask(&format!("element/{}/click", self.find(selector)), json!({}));
    }

    /// Types into what a CSS selector finds.
    pub fn enter(&self, selector: &str, text: &str) {
        self.ask(
            &format!("element/{}/value", self.find(selector)),
            json!({"text": text}),
        );
    }

    /// Asks pages for their dark or light form.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": feature}});
        self.ask("goog/cdp/execute", command);
    }

    /// Gives the page this many pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size});
        self.ask("goog/cdp/execute", command);
    }

    /// What the page's console has said since the last question.
    pub fn console(&self) -> Vec<Value> {
        let said = self.ask("se/log", json!({"type": "browser"}));
        said.as_array().expect("a list").clone()
    }

    fn find(&self, selector: &str) -> String {
        let found = self.ask(
            "element",
            json!({"using": "css selector", "value": selector}),
        );
        let element = found.as_object().and_then(|found| found.values().next());
        let id = element.and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no {selector}: {found}"))
            .to_owned()
    }

    fn ask(&self, what: &str, body: Value) -> Value {
        self.call("POST", &format!("{}/{what}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(100)))
            .expect("a limit");
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .expect("send");
        // The connection stays open whatever we ask for; the head says how long the body is.
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            stream.read_line(&mut head).expect("a head");
            let line = head[start..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("a body");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path}: {head}\n{answer}"
        );
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &self.session, json!({}));
        }
        // The driver and, where it could not say goodbye, Chromium.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.driver),
            rustix::process::Signal::TERM,
        );
        let _ = self.driver.wait();
    }
}
