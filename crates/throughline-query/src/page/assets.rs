//! The stylesheet and the modules, inside the binary. Their path carries a hash of all of them, so that a browser may keep
//! them for ever and still never mixes two versions.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("page.css", "text/css; charset=utf-8", include_str!("../../assets/page.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ("page.js", JAVASCRIPT, include_str!("../../assets/page.js")),
    ("keys.js", JAVASCRIPT, include_str!("../../assets/keys.js")),
    ("live.js", JAVASCRIPT, include_str!("../../assets/live.js")),
    ("copy.js", JAVASCRIPT, include_str!("../../assets/copy.js")),
    ("sampler.js", JAVASCRIPT, include_str!("../../assets/sampler.js")),
    ("rows.js", JAVASCRIPT, include_str!("../../assets/rows.js")),
    ("scatter.js", JAVASCRIPT, include_str!("../../assets/scatter.js")),
    ("time.js", JAVASCRIPT, include_str!("../../assets/time.js")),
];

/// FNV-1a over all files, in hex.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let bytes = FILES.iter().flat_map(|(name, _, content)| name.bytes().chain(content.bytes()));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
});

/// Where a file is.
pub(super) fn url(file: &str) -> String {
    format!("/static/{}/{file}", *VERSION)
}

pub(super) async fn serve(Path((version, file)): Path<(String, String)>) -> Response {
    let Some((_, media, content)) = FILES.iter().find(|(name, _, _)| *name == file) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    // A page from before an update asks for the old version: it gets the new file, but must not keep it under that name.
    let keep = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media)),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
    ];
    (headers, *content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let share = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn every_ink_can_be_read_on_every_paper() {
        let (_, _, css) = FILES.iter().find(|(name, _, _)| *name == "page.css").unwrap();
        let themes: Vec<&str> = css.split(":root {").skip(1).take(2).collect();
        for theme in themes {
            let colour = |name: &str| {
                let at = theme.find(&format!("--{name}: #")).unwrap() + name.len() + 4;
                luminance(&theme[at..at + 7])
            };
            for (ink, paper) in
                ["ink", "quiet", "faint", "error"].iter().flat_map(|ink| [(ink, "paper"), (ink, "raised")])
            {
                let (one, other) = (colour(ink), colour(paper));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 4.5, "{ink} on {paper}: {contrast:.2}");
            }
        }
    }
}
