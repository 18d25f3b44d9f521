//! api: takes checkouts over HTTP. The server layer begins the trace (or continues the caller's) and names it in the
//! answer; the producer carries it on.

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{MatchedPath, State, rejection::BytesRejection},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};
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

/// Where checkouts are posted.
const START: &str = "/rpc/checkout/start";

/// More than four short fields ever need, and less than Kafka takes.
const LARGEST_BODY: usize = 64 * 1024;

/// Why a checkout was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    BadRequest(#[from] BadOrder),
    #[error("field `tenantId` cannot be a tenant: {0}")]
    BadTenant(#[from] InvalidId),
    #[error("the body has {0} bytes; a checkout has at most {LARGEST_BODY}")]
    TooLarge(usize),
    #[error("the body could not be read: {0}")]
    Unread(#[from] BytesRejection),
    #[error("the order is too large for kafka: {0}")]
    TooLargeForKafka(KafkaError),
    #[error("kafka did not take the order: {0}")]
    Unavailable(KafkaError),
    #[error("there is nothing at this path; POST a checkout to {START}")]
    NoSuchPath,
    #[error("{0} means nothing here; POST a checkout to {START}")]
    WrongMethod(Method),
}

impl From<KafkaError> for Refusal {
    /// What would be refused again is not to be tried again.
    fn from(error: KafkaError) -> Self {
        use RDKafkaErrorCode::{MessageBatchTooLarge, MessageSizeTooLarge};
        match error.rdkafka_error_code() {
            Some(MessageSizeTooLarge | MessageBatchTooLarge) => Refusal::TooLargeForKafka(error),
            _ => Refusal::Unavailable(error),
        }
    }
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
        .route(START, post(start))
        .fallback(async || Refusal::NoSuchPath)
        .method_not_allowed_fallback(async |method| Refusal::WrongMethod(method))
        .layer(ServerLayer::new(Trust::Internal).route(route))
        .with_state(Arc::clone(&outbox));

    let refused = |source| Error::Listen { address: settings.listen, source };
    let listener = tokio::net::TcpListener::bind(settings.listen).await.map_err(refused)?;
    ready(Ready::Listening(listener.local_addr().map_err(refused)?));
    axum::serve(listener, app).with_graceful_shutdown(stop).await.map_err(Error::Http)?;
    outbox.flush();
    Ok(())
}

async fn start(
    State(outbox): State<Arc<Outbox>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body?;
    if body.len() > LARGEST_BODY {
        return Err(Refusal::TooLarge(body.len()));
    }
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
        let status = match &self {
            Refusal::BadRequest(_) | Refusal::BadTenant(_) => StatusCode::BAD_REQUEST,
            Refusal::TooLarge(_) | Refusal::TooLargeForKafka(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Unread(rejection) => rejection.status(),
            Refusal::NoSuchPath => StatusCode::NOT_FOUND,
            Refusal::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        tracing::warn!(error = %self, "checkout refused");
        let span = Span::current();
        let trace = json!({ "error": self.to_string(), "traceId": span.trace_id().to_string() });
        (status, Json(trace)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_work_later_is_answered_as_unavailable() {
        use RDKafkaErrorCode as Code;
        for (code, status) in [
            (Code::MessageSizeTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            (Code::MessageBatchTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            (Code::MessageTimedOut, StatusCode::SERVICE_UNAVAILABLE),
            (Code::QueueFull, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let refusal = Refusal::from(KafkaError::MessageProduction(code));
            assert_eq!(refusal.into_response().status(), status, "{code:?}");
        }
    }
}
