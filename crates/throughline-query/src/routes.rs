//! The two routers, assembled.

use axum::{Router, middleware};

use crate::app::App;
use crate::guard::guard;
use crate::{jaeger, own, page, reads};

/// The page, Jaeger's API, our own API, health and metrics: port 16686.
pub fn ui(app: App) -> Router {
    guarded(jaeger::router().merge(own::router()).merge(page::router()).fallback(page::unknown), app)
}

/// Tempo's API: port 3200.
pub fn tempo(app: App) -> Router {
    guarded(crate::tempo::router(), app)
}

fn guarded(router: Router<App>, app: App) -> Router {
    router
        .layer(middleware::from_fn_with_state(app.clone(), reads::outgoing))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}
