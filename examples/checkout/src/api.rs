//! api: takes checkouts over HTTP. The server layer begins the trace (or continues the caller's) and names it in the
//! answer; the producer carries it on.

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{MatchedPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use rdkafka::{ClientConfig, error::KafkaError};
use serde_json::json;
use throughline::{
    InvalidId, Span,
    http::{ServerLayer, Trust},
    opentelemetry::{Context, context::FutureExt as _},
};

use crate::{
    Error, Ready, Service, Settings,
    broker::Outbox,
    events::{BadOrder, ORDERS, Order},
};

/// Why a checkout was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    BadRequest(#[from] BadOrder),
    #[error("field `tenantId` cannot be a tenant: {0}")]
    BadTenant(#[from] InvalidId),
    #[error("kafka did not take the order: {0}")]
    Unavailable(#[from] KafkaError),
}

/// Listens until `stop` completes.
///
/// # Errors
/// If the address is not to be had, or the listener breaks.
pub async fn run(
    settings: &Settings,
    ready: impl FnOnce(Ready) + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let mut config = ClientConfig::new();
    config.set("message.timeout.ms", settings.delivery_timeout.as_millis().to_string());
    let outbox = Arc::new(Outbox::connect(Service::Api, settings, &mut config)?);

    let route = |extensions: &axum::http::Extensions| {
        extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned())
    };
    let app = Router::new()
        .route("/rpc/checkout/start", post(start))
        .layer(ServerLayer::new(Trust::Internal).route(route))
        .with_state(Arc::clone(&outbox));

    let refused = |source| Error::Listen { address: settings.listen, source };
    let listener = tokio::net::TcpListener::bind(settings.listen).await.map_err(refused)?;
    ready(Ready::Listening(listener.local_addr().map_err(refused)?));
    axum::serve(listener, app).with_graceful_shutdown(stop).await.map_err(Error::Http)?;
    outbox.flush();
    Ok(())
}

async fn start(State(outbox): State<Arc<Outbox>>, body: Bytes) -> Result<Response, Refusal> {
    let order = Order::from_request(&body)?;
    let span = Span::current();
    let correlation_id = span.correlation_id();
    let tenant = throughline::with_tenant(&Context::current(), &order.tenant_id)?;
    tracing::info!(
        user = order.user_id,
        amount = order.cart_value,
        items = order.item_count,
        "checkout started"
    );
    outbox.publish(ORDERS, &correlation_id, &order).with_context(tenant).await?;
    let answer = json!({ "traceId": span.trace_id().to_string(), "correlationId": &*correlation_id });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Refusal::BadRequest(_) | Refusal::BadTenant(_) => StatusCode::BAD_REQUEST,
            Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        tracing::warn!(error = %self, "checkout refused");
        let span = Span::current();
        let trace = json!({ "error": self.to_string(), "traceId": span.trace_id().to_string() });
        (status, Json(trace)).into_response()
    }
}
