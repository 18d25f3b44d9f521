//! A headless Chromium, driven over its debugging pipe: keys are really pressed, pictures really taken. It waits for events of
//! the browser, never for time to pass; a browser that says nothing for a while fails the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value as Json, json};

/// No single step of a page takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PLACES: &[&str] = &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/// Nothing but the page itself: no first run, no updates, no reports.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                     --disable-component-update --disable-sync --disable-extensions --remote-debugging-pipe";

/// One browser with one page.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Json>,
    /// Events that came while an answer was awaited.
    events: Vec<Json>,
    session: Option<String>,
    calls: u64,
    _profile: tempfile::TempDir,
}

/// Where Chromium is; `None` if it is not installed.
pub(crate) fn installed() -> Option<&'static str> {
    PLACES.iter().copied().find(|place| std::path::Path::new(place).exists())
}

impl Browser {
    pub(crate) fn start(binary: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // Chromium reads commands on descriptor 3 and writes on 4; a shell puts our pipes there.
        let line = format!(
            "exec {binary} {FLAGS} --user-data-dir={} about:blank 3<&0 4>&1 >/dev/null",
            profile.path().display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let _ = serde_json::from_slice(&message).map(|message| sender.send(message));
            }
        });
        let mut browser =
            Self { child, input, messages, events: Vec::new(), session: None, calls: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        browser.call("Page.setLifecycleEventsEnabled", json!({ "enabled": true }));
        browser
    }

    /// One command and its answer.
    pub(crate) fn call(&mut self, method: &str, params: Json) -> Json {
        let asked = format!("{method} {params}");
        self.ask(method, params).unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// One command and its answer, or the browser's error.
    fn ask(&mut self, method: &str, params: Json) -> Result<Json, Json> {
        self.calls += 1;
        let id = self.calls;
        let asked = format!("{method} {params}");
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.next(|| format!("no answer to {asked}"));
            if answer["id"] == id {
                return if answer["error"].is_null() {
                    Ok(answer["result"].clone())
                } else {
                    Err(answer["error"].clone())
                };
            }
            self.events.push(answer);
        }
    }

    /// What the browser says next.
    fn next(&self, missing: impl FnOnce() -> String) -> Json {
        self.messages.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("{} ({why})", missing()))
    }

    /// Goes to an address and waits until the page has loaded.
    pub(crate) fn open(&mut self, url: &str) {
        let begun = self.call("Page.navigate", json!({ "url": url }));
        assert!(begun["errorText"].is_null(), "{url}: {}", begun["errorText"]);
        self.loaded(&begun["loaderId"]);
    }

    /// Does what makes the browser load another page, and waits until it has.
    pub(crate) fn loads(&mut self, action: impl FnOnce(&mut Self)) {
        let before = self.events.len();
        action(self);
        let begun = |event: &Json| event["method"] == "Page.frameNavigated";
        let loader = loop {
            if let Some(event) = self.events.iter().skip(before).find(|event| begun(event)) {
                break event["params"]["frame"]["loaderId"].clone();
            }
            let event = self.next(|| "no other page was opened".to_owned());
            self.events.push(event);
        };
        self.loaded(&loader);
    }

    /// Waits until this very page has loaded: the blank one that a browser begins with loads too, at any time.
    fn loaded(&mut self, loader: &Json) {
        let is_it = |event: &Json| {
            event["method"] == "Page.lifecycleEvent"
                && event["params"]["name"] == "load"
                && event["params"]["loaderId"] == *loader
        };
        while !self.events.iter().any(is_it) {
            let event = self.next(|| "the page did not load".to_owned());
            self.events.push(event);
        }
    }

    /// The value of an expression; a promise is waited for.
    pub(crate) fn value(&mut self, expression: &str) -> Json {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true, looking each time the page or its address changes. An address is no part of the
    /// document: it changes after the elements have, and nobody who watches them alone hears of it.
    pub(crate) fn until(&mut self, condition: &str) {
        self.value(&format!(
            "new Promise((done) => {{
               const look = () => {{
                 if (!({condition})) return;
                 watch.disconnect();
                 navigation.removeEventListener('currententrychange', look);
                 done(true);
               }};
               const watch = new MutationObserver(look);
               watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
               navigation.addEventListener('currententrychange', look);
               look();
             }})"
        ));
    }

    /// Presses and releases a key.
    pub(crate) fn press(&mut self, key: &str) {
        // Enter only clicks what has the focus if it comes with its text.
        let text = if key == "Enter" { Some("\r") } else { Some(key).filter(|k| k.len() == 1) };
        let code = if key == "Enter" { 13 } else { 0 };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Presses the pointer at one place, moves it to another, releases it.
    pub(crate) fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        let steps = [("mousePressed", from, 1), ("mouseMoved", to, 1), ("mouseReleased", to, 0)];
        for (kind, (x, y), buttons) in steps {
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    /// What the page complained about: exceptions, refused resources, violations of the content policy.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaint = |event: &&Json| {
            event["method"] == "Runtime.exceptionThrown"
                || (event["method"] == "Log.entryAdded" && event["params"]["entry"]["level"] == "error")
        };
        self.events.iter().filter(complaint).map(|event| event["params"].to_string()).collect()
    }

    /// Sets the size of the window, and light or dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// A picture as PNG, in base64.
    pub(crate) fn picture(&mut self) -> String {
        self.call("Page.captureScreenshot", json!({ "format": "png" }))["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It closes its own children when told to; if it is beyond hearing, it is killed.
        let close = json!({ "id": 0, "method": "Browser.close" });
        if self.input.write_all(format!("{close}\0").as_bytes()).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
