//! The page in a real browser: it renders, its modules run and nothing complains; keys, folds and live growth work; without
//! JavaScript it is still readable; a hostile name stays text; ten thousand spans open.
//!
//! With `THROUGHLINE_SCREENSHOTS=folder` the pictures are kept there.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: what is not as expected ends it, and what it skips it says"
)]

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value as Json, json};

mod browser;
#[path = "browser/sampler.rs"]
mod sampler;
#[path = "../src/testing.rs"]
#[expect(dead_code, reason = "the fixture also serves the tests that run without a browser")]
mod testing;

use browser::Browser;
use testing::{BATCH, Fixture, NOW, START, span, spans, trace_id};

/// A fixture that listens, and a browser in front of it.
struct Stage {
    fixture: Fixture,
    browser: Browser,
    address: SocketAddr,
    /// Serves until it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn with(fixture: Fixture, binary: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(axum::serve(listener, throughline_query::ui(fixture.app.clone())).into_future());
        Self { fixture, browser: Browser::start(binary), address, _runtime: runtime }
    }

    fn open(&mut self, path: &str) {
        let url = format!("http://{}{path}", self.address);
        self.browser.open(&url);
    }

    fn count(&mut self, selector: &str) -> u64 {
        self.browser
            .value(&format!("document.querySelectorAll({}).length", json!(selector)))
            .as_u64()
            .unwrap()
    }

    fn focused(&mut self) -> Json {
        self.browser.value("document.activeElement.closest('li.n')?.id")
    }

    fn picture(&mut self, name: &str, width: u32, height: u32, scheme: &str) {
        self.browser.look(width, height, scheme);
        let picture = self.browser.picture();
        assert!(picture.starts_with("iVBORw0KGgo"), "not a PNG");
        if let Ok(folder) = std::env::var("THROUGHLINE_SCREENSHOTS") {
            std::fs::write(format!("{folder}/{name}.png.base64"), picture).unwrap();
        }
    }
}

/// Runs a test in a browser, or says that it was skipped; a machine that must have one fails instead.
fn in_browser(name: &str, fixture: Fixture, test: impl FnOnce(Stage)) {
    if let Some(binary) = browser::installed() {
        return test(Stage::with(fixture, binary));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "Chromium is not installed");
    println!("skipped: {name} (Chromium is not installed)");
    if let Ok(list) = std::env::var("THROUGHLINE_SKIPPED") {
        use std::io::Write;
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{name}").unwrap();
    }
}

#[test]
fn a_trace_is_drawn_and_answers_to_keys() {
    in_browser("a_trace_is_drawn_and_answers_to_keys", Fixture::checkouts(), |mut stage| {
        stage.open(&format!("/trace/{}", trace_id(3)));
        assert_eq!(stage.browser.value("document.documentElement.dataset.ready"), "trace");
        assert_eq!((stage.count("li.n"), stage.count("li.wait"), stage.count(".linked li")), (9, 2, 1));
        // Every bar has a size on screen, and the one after the long wait stands right of it.
        let boxes =
            "[...document.querySelectorAll('rect.bar')].every((b) => b.getBoundingClientRect().width > 0)";
        assert_eq!(stage.browser.value(boxes), true);
        stage.picture("trace-light", 1440, 1000, "light");
        stage.picture("trace-dark", 1440, 1000, "dark");
        stage.picture("trace-narrow", 420, 900, "light");
        let beyond = "[...document.querySelectorAll('text.figure')].filter((figure) => figure.getBoundingClientRect().right
            > document.querySelector('.waterfall').getBoundingClientRect().right).map((figure) => figure.textContent)";
        assert_eq!(stage.browser.value(beyond), json!([]), "on a narrow screen no figure is cut off");
        stage.browser.look(1440, 1000, "light");

        stage.browser.press("ArrowDown");
        assert_eq!(stage.focused(), "s-0000000000000301");
        stage.browser.press("ArrowDown");
        assert_eq!(stage.focused(), "s-0000000000000302");
        stage.browser.press("ArrowLeft");
        stage.browser.press("ArrowDown");
        assert_eq!(stage.focused(), "s-0000000000000302", "what is folded away is stepped over");
        stage.browser.press("ArrowRight");
        stage.browser.press("ArrowDown");
        assert_eq!(stage.focused(), "s-0000000000000303");
        stage.browser.press("Enter");
        stage.browser.until("location.search.includes('span=0000000000000303')");
        assert_eq!(
            stage.browser.value("document.querySelector('details.span[open] .body dl').checkVisibility()"),
            true
        );
        stage.picture("trace-open", 1440, 1000, "light");
        stage.browser.press("/");
        assert_eq!(stage.browser.value("document.activeElement.id"), "find");
        for key in ["r", "e", "c", "e", "i"] {
            stage.browser.press(key);
        }
        assert_eq!(stage.browser.value("document.querySelector('#found').textContent"), "1 span matches");
        stage.browser.press("Enter");
        assert_eq!(stage.focused(), "s-0000000000000308");
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}

/// What the other tests stand on: `toggle` comes after the element has changed, and the address changes after that.
#[test]
fn a_change_of_the_address_alone_is_waited_for() {
    in_browser("a_change_of_the_address_alone_is_waited_for", Fixture::checkouts(), |mut stage| {
        stage.open(&format!("/trace/{}", trace_id(3)));
        stage.browser.value("setTimeout(() => history.replaceState(null, '', '?late=1'), 200)");
        stage.browser.until("location.search === '?late=1'");
    });
}

#[test]
fn errors_are_one_key_away() {
    in_browser("errors_are_one_key_away", Fixture::checkouts(), |mut stage| {
        stage.open(&format!("/trace/{}", trace_id(7)));
        stage.browser.press("n");
        assert_eq!(stage.focused(), "s-0000000000000707");
        stage.browser.press("Enter");
        stage.picture("trace-error", 1440, 1000, "dark");
        stage.open(&format!("/trace/{}", trace_id(BATCH)));
        assert_eq!(stage.count(".linked li"), 5);
        stage.picture("trace-batch", 1440, 900, "light");
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}

#[test]
fn errors_that_are_folded_away_are_one_key_away_too() {
    let fixture = Fixture::empty();
    let failed = [50, 1_500, 2_300];
    let step = |id: u64| {
        let millis = (id as f64, id as f64 + 1.0);
        let mut step = span(1, id, (id > 1).then_some(1), "step", 1, millis, json!({}));
        if failed.contains(&id) {
            step["status"] = json!({ "code": 2, "message": "no" });
        }
        step
    };
    fixture.ingest(&spans("api", (1..=2_500).map(step).collect()));
    in_browser("errors_that_are_folded_away_are_one_key_away_too", fixture, |mut stage| {
        let row = |id: u64| json!(format!("s-{id:016x}"));
        stage.open(&format!("/trace/{}", trace_id(1)));
        stage.browser.press("n");
        assert_eq!(stage.focused(), row(50));
        assert_eq!(stage.browser.value("document.querySelector('.hidden').innerText"), "✗ 2 errors in them");
        for (key, to) in [("n", 1_500), ("n", 2_300), ("p", 1_500), ("p", 50)] {
            stage.browser.loads(|browser| browser.press(key));
            assert_eq!(stage.focused(), row(to), "{key}");
        }
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}

#[test]
fn a_search_is_shown_and_dragging_narrows_it() {
    in_browser("a_search_is_shown_and_dragging_narrows_it", Fixture::checkouts(), |mut stage| {
        stage.open("/");
        assert_eq!(stage.browser.value("document.documentElement.dataset.ready"), "search");
        assert_eq!((stage.count(".results li"), stage.count(".scatter circle")), (8, 8));
        stage.picture("search-dark", 1440, 900, "dark");
        stage.picture("search-narrow", 420, 900, "light");
        stage.picture("search-light", 1440, 900, "light");
        stage.browser.press("ArrowDown");
        assert_eq!(stage.browser.value("document.activeElement.className"), "to");
        let frame = stage.browser.value(
            "JSON.parse(JSON.stringify(document.querySelector('.scatter svg').getBoundingClientRect()))",
        );
        let at = |share: f64, key: &str, length: &str| {
            frame[key].as_f64().unwrap() + share * frame[length].as_f64().unwrap()
        };
        let (from, to) = (
            (at(0.0, "x", "width"), at(0.02, "y", "height")),
            (at(0.5, "x", "width"), at(0.98, "y", "height")),
        );
        stage.browser.loads(|browser| browser.drag(from, to));
        assert_eq!(stage.browser.value("document.documentElement.dataset.ready"), "search");
        // Of 7 checkouts at 0.4 s distance and a batch at 4.9 s, the left half has the checkouts but the last ones.
        assert_eq!(stage.count(".results li"), 6);
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}

#[test]
fn the_button_stands_beside_its_fields() {
    in_browser("the_button_stands_beside_its_fields", Fixture::checkouts(), |mut stage| {
        // The row of the last field, and how many rows there are: by where the boxes end.
        let rows = "(() => { const at = (e) => Math.round(e.getBoundingClientRect().bottom);
            const boxes = [...document.querySelectorAll('.fields select, .fields label:not(.check) input')].map(at);
            const inside = [...document.querySelectorAll('.fields *')].every((e) => e.getBoundingClientRect().right <= innerWidth);
            return [new Set(boxes).size, at(document.querySelector('.fields button')) - at(document.querySelector('.fields .check')), inside, boxes.at(-1) === at(document.querySelector('.fields button'))]; })()";
        for (width, one_row) in [(1600, true), (1300, true), (1100, false), (800, false), (360, false)] {
            stage.browser.look(width, 800, "light");
            stage.open("/");
            let seen = stage.browser.value(rows);
            assert_eq!((&seen[1], &seen[2]), (&json!(0), &json!(true)), "{width}: {seen}");
            assert!(!one_row || (seen[0] == 1 && seen[3] == true), "{width}: {seen}");
        }
    });
}

#[test]
fn without_javascript_it_is_still_readable() {
    in_browser("without_javascript_it_is_still_readable", Fixture::checkouts(), |mut stage| {
        stage.browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
        stage.open(&format!("/trace/{}?span=0000000000000307", trace_id(3)));
        assert_eq!(stage.browser.value("document.documentElement.dataset.ready ?? null"), Json::Null);
        let text = stage.browser.value("document.body.innerText");
        for part in [
            "POST /rpc/checkout/start",
            "payments p0 @13 · waited 2.11 s",
            "messaging.system",
            "v1.settlements.batched process",
            "checkout started, 2 items",
        ] {
            assert!(text.as_str().unwrap().contains(part), "{part} is not in {text}");
        }
        // Nothing is shown that would do nothing.
        assert_eq!(
            stage
                .browser
                .value("[...document.querySelectorAll('button.copy')].some((b) => b.checkVisibility())"),
            false
        );
        stage.open("/?q=error");
        assert_eq!(stage.count(".results li"), 2);
    });
}

#[test]
fn a_hostile_name_stays_text() {
    let fixture = Fixture::empty();
    let hostile = r#""'><img src=x onerror="window.pwned=1"><script>window.pwned=2</script>"#;
    let mut evil = span(
        1,
        1,
        None,
        hostile,
        4,
        (0.0, 5.0),
        json!({ hostile: hostile, "url": "javascript:window.pwned=3" }),
    );
    evil["status"] = json!({ "code": 2, "message": hostile });
    evil["events"] = json!([{ "timeUnixNano": START.to_string(), "name": hostile }]);
    fixture.ingest(&spans(hostile, vec![evil]));
    in_browser("a_hostile_name_stays_text", fixture, |mut stage| {
        for path in [
            format!("/trace/{}?span=0000000000000001&find={}", trace_id(1), "%22%3E%3Cscript%3E"),
            "/".to_owned(),
            "/?q=%3Cscript%3E".to_owned(),
        ] {
            stage.open(&path);
            assert_eq!(stage.browser.value("window.pwned ?? null"), Json::Null, "{path}");
            assert_eq!(
                (stage.count("img"), stage.count("script:not([src])"), stage.count("[href^=javascript]")),
                (0, 0, 0),
                "{path}"
            );
        }
        // The last page is an error page on purpose; the browser logs its status and nothing else.
        assert!(
            stage.browser.complaints().iter().all(|c| c.contains("400")),
            "{:?}",
            stage.browser.complaints()
        );
    });
}

#[test]
fn a_trace_grows_by_itself() {
    let fixture = Fixture::empty();
    let now = (NOW - START) as f64 / 1e6;
    let grown = |id: u64, name: &str| {
        spans("api", vec![span(1, id, (id > 1).then_some(1), name, 1, (now - 9.0, now), json!({}))])
    };
    fixture.ingest(&grown(1, "first"));
    in_browser("a_trace_grows_by_itself", fixture, |mut stage| {
        stage.open("/");
        stage.open(&format!("/trace/{}", trace_id(1)));
        assert_eq!(stage.browser.value("document.querySelector('.arriving').textContent"), "still arriving");
        stage.browser.until("document.querySelector('#follow').textContent === 'following'");
        stage.browser.press("ArrowDown");
        stage.fixture.ingest(&grown(2, "second"));
        stage.browser.until("document.querySelectorAll('li.n').length === 2");
        assert_eq!(stage.focused(), "s-0000000000000001", "the focus stays where it was");
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}

#[test]
fn an_empty_store_says_what_to_do_and_fills_itself() {
    in_browser("an_empty_store_says_what_to_do_and_fills_itself", Fixture::empty(), |mut stage| {
        stage.open("/");
        let text = stage.browser.value("document.querySelector('.empty').innerText");
        assert!(
            text.as_str().unwrap().contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"),
            "{text}"
        );
        stage.picture("search-empty", 1440, 600, "light");
        stage.browser.until("document.documentElement.dataset.live === 'on'");
        let first = spans("api", vec![span(1, 1, None, "first", 1, (0.0, 9.0), json!({}))]);
        let Stage { fixture, browser, .. } = &mut stage;
        browser.loads(|_| fixture.ingest(&first));
        assert_eq!(stage.count(".results li"), 1);
    });
}

#[test]
fn ten_thousand_spans_open() {
    let fixture = Fixture::empty();
    for request in 0..10_u64 {
        let service = ["api", "worker", "db"][request as usize % 3];
        let batch = (0..1_000_u64).map(|n| {
            let id = request * 1_000 + n + 1;
            let parent = (id > 1).then_some(if id % 4 == 0 { 1 } else { id / 2 });
            span(
                1,
                id,
                parent,
                &format!("step {id}"),
                1,
                (id as f64 / 10.0, id as f64 / 10.0 + 40.0),
                json!({ "n": id as i64 }),
            )
        });
        fixture.ingest(&spans(service, batch.collect()));
    }
    in_browser("ten_thousand_spans_open", fixture, |mut stage| {
        let begun = Instant::now();
        stage.open(&format!("/trace/{}", trace_id(1)));
        let rows = stage.count("li.n");
        assert!((100..=2_500).contains(&rows), "{rows} rows: what is folded is not on the page");
        let figures = "(([n]) => [n.responseEnd, n.decodedBodySize, n.domInteractive])(performance.getEntriesByType('navigation'))";
        let figures = stage.browser.value(figures);
        println!(
            "10,000 spans are open after {:?}; [last byte ms, bytes, parsed ms] = {figures}",
            begun.elapsed()
        );
        assert!(stage.count("a.below") > 0 && stage.count("li.gather") > 0, "it is folded");
        stage.picture("trace-10000", 1440, 1000, "light");
        // A row's details come when it is opened.
        stage.browser.press("ArrowDown");
        stage.browser.press("Enter");
        stage.browser.until("document.querySelector('details.span[open] .body dl') !== null");
        // What is folded away is a link away.
        for (link, asked) in [("a.below", 0), ("li.gather > a", 1)] {
            let href =
                stage.browser.value(&format!("document.querySelector({}).getAttribute('href')", json!(link)));
            stage.open(href.as_str().unwrap());
            let row = href.as_str().unwrap().split_once('#').unwrap().1.to_owned();
            assert!(stage.count(&format!("[id='{row}'] li.n")) + asked > 0, "{link}: {href}");
            assert_eq!(stage.count(&format!("[id='{row}']")), 1, "{link}: {href}");
            assert!(stage.count("li.n") <= 2_500, "{link}");
            stage.open(&format!("/trace/{}", trace_id(1)));
        }
        assert_eq!(stage.browser.complaints(), [""; 0]);
    });
}
