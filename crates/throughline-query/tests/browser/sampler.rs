//! The sampler's page and why a trace was kept, in a browser: the picture moves by itself, its bars lie within it.

use super::in_browser;
use super::testing::{BATCH, Fixture, trace_id};

#[test]
fn the_sampler_is_shown_as_it_changes() {
    in_browser("the_sampler_is_shown_as_it_changes", Fixture::sampled(), |mut stage| {
        stage.open("/");
        stage.browser.loads(|browser| {
            browser.value("document.querySelector('nav.places a').click()");
        });
        assert_eq!(stage.browser.value("location.pathname"), "/sampler");
        stage.browser.until("Number(document.documentElement.dataset.beat) >= 2");
        let before = stage.browser.value("document.querySelector('.gauges').textContent");
        stage.browser.until("Number(document.documentElement.dataset.beat) >= 3");
        assert_ne!(stage.browser.value("document.querySelector('.gauges').textContent"), before);
        assert_eq!((stage.count("tr[data-verdict=sampled]"), stage.count("tr[data-exporter]")), (5, 2));
        // A bar for each of the sixty seconds, none wider than its slot, none higher than the chart.
        assert_eq!((stage.count(".pulse rect.in"), stage.count(".pulse rect.kept")), (60, 60));
        let inside = "(() => { const svg = document.querySelector('.pulse svg').getBoundingClientRect(); \
             return [...document.querySelectorAll('.pulse rect')].every((bar) => { const b = bar.getBoundingClientRect(); \
             return b.width > 0 && b.left >= svg.left - 1 && b.right <= svg.right + 1 && b.top >= svg.top - 1; }); })()";
        assert_eq!(stage.browser.value(inside), true);
        stage.picture("sampler-light", 1440, 800, "light");
        stage.picture("sampler-dark", 1440, 800, "dark");
        stage.picture("sampler-narrow", 420, 1000, "light");
        stage.browser.look(1440, 900, "light");
        stage.open(&format!("/trace/{}", trace_id(1)));
        stage.picture("trace-linked", 1440, 700, "light");
        let origin =
            format!("document.querySelector('.decision a[href=\"/trace/{}\"]') !== null", trace_id(BATCH));
        assert_eq!(stage.browser.value(&origin), true);
        stage.open(&format!("/trace/{}", trace_id(50)));
        stage.picture("trace-not-kept", 1440, 500, "light");
        // The browser itself complains of the page's status, which is 404, and of nothing else.
        let ours: Vec<String> =
            stage.browser.complaints().into_iter().filter(|it| !it.contains("404")).collect();
        assert_eq!(ours, [""; 0]);
    });
}
