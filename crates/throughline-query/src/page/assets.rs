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
