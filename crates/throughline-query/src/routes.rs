//! The two routers, assembled. Each API has its own form of refusing, for what is refused on its way out too.

use axum::{Router, middleware};

use crate::answer::counted;
use crate::app::App;
use crate::guard::guard;
use crate::reply::{AsJson, AsText, Form};
use crate::{jaeger, own, page};

/// The page, Jaeger's API, our own API, health and metrics: port 16686.
pub fn ui(app: App) -> Router {
    let router = refusing::<jaeger::Envelope>(jaeger::router(), &app)
        .merge(refusing::<AsJson>(own::json_router(), &app))
        .merge(refusing::<AsText>(own::text_router(), &app))
        .merge(refusing::<page::Problem>(page::router(), &app))
        .fallback(page::unknown);
    guarded(router, app)
}

/// Tempo's API: port 3200.
pub fn tempo(app: App) -> Router {
    guarded(refusing::<AsText>(crate::tempo::router(), &app), app)
}

/// Metrics alone, for an address that a scraper may reach and nobody else needs to.
pub fn metrics(app: App) -> Router {
    guarded(refusing::<AsText>(own::metrics_router(), &app), app)
}

/// Counts large answers, and refuses them in this form.
fn refusing<F: Form>(router: Router<App>, app: &App) -> Router<App> {
    router.layer(middleware::from_fn_with_state(app.reads().outgoing().clone(), counted::<F>))
}

fn guarded(router: Router<App>, app: App) -> Router {
    router.layer(middleware::from_fn_with_state(app.hosts(), guard)).with_state(app)
}
