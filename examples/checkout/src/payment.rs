//! payment-worker: charges an order, publishes the payment. Declines what a demo can trigger.

use std::{future::Future, pin::pin};

use rdkafka::{ClientConfig, Message as _, error::KafkaError};

use crate::{
    Error, Ready, Service, Settings,
    broker::{self, Outbox},
    events::{ORDERS, Order, PAYMENTS, Payment},
};

/// Carts above it are declined.
pub const LIMIT: f64 = 10_000.0;

/// Why an order was not charged.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The bank said no. Final.
    #[error("payment declined: {0}")]
    Declined(&'static str),
    /// The message is no order. Final.
    #[error("unreadable order: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Kafka did not take the payment: the order is to be tried again.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Consumes `orders` until `stop` completes.
///
/// # Errors
/// If Kafka fails for good.
pub async fn run(
    settings: &Settings,
    ready: impl FnOnce(Ready) + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let outbox = Outbox::connect(Service::PaymentWorker, settings, &mut ClientConfig::new())?;
    let consumer = broker::subscribe(Service::PaymentWorker, settings, ORDERS, ready)?;
    let mut stop = pin!(stop);
    loop {
        let message = tokio::select! {
            () = &mut stop => break,
            received = consumer.recv() => match received {
                Ok(message) => message,
                Err(error) => {
                    broker::survive(error)?;
                    continue;
                }
            },
        };
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        let payload = message.payload().unwrap_or_default();
        match message.process(charge(&key, payload, &outbox)).await {
            Err(PaymentError::Kafka(error)) => return Err(error.into()), // not committed: it comes again
            Ok(()) | Err(PaymentError::Declined(_) | PaymentError::Unreadable(_)) => {}
        }
        broker::done(&consumer, &message);
    }
    outbox.flush();
    broker::leave(&consumer);
    Ok(())
}

async fn charge(key: &str, payload: &[u8], outbox: &Outbox) -> Result<(), PaymentError> {
    let order: Order = serde_json::from_slice(payload)?;
    if let Some(reason) = refusal(&order) {
        tracing::warn!(user = order.user_id, amount = order.cart_value, reason, "payment declined");
        return Err(PaymentError::Declined(reason));
    }
    tracing::info!(user = order.user_id, amount = order.cart_value, "charged");
    let payment = Payment { amount: order.cart_value, user_id: order.user_id };
    outbox.publish(PAYMENTS, key, &payment).await?;
    Ok(())
}

fn refusal(order: &Order) -> Option<&'static str> {
    match order {
        Order { user_id, .. } if user_id == "usr_declined" => Some("insufficient funds"),
        Order { cart_value, .. } if *cart_value > LIMIT => Some("above the limit"),
        _ => None,
    }
}
