//! email-worker: tells the customer of the payment, publishes the notification. One mailbox throws.

use std::{future::Future, pin::pin};

use rdkafka::{ClientConfig, Message as _, error::KafkaError};

use crate::{
    Error, Ready, Service, Settings,
    broker::{self, Outbox},
    events::{NOTIFICATIONS, Notification, PAYMENTS, Payment},
};

/// Why a customer was not told.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The mailbox refused the message. Final.
    #[error("mailbox of {0} bounced: 550 no such user")]
    Bounced(String),
    /// The message is no payment. Final.
    #[error("unreadable payment: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Kafka did not take the notification: the payment is to be tried again.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Consumes `payments` until `stop` completes.
///
/// # Errors
/// If Kafka fails for good.
pub async fn run(
    settings: &Settings,
    ready: impl FnOnce(Ready) + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let outbox = Outbox::connect(Service::EmailWorker, settings, &mut ClientConfig::new())?;
    let consumer = broker::subscribe(Service::EmailWorker, settings, PAYMENTS, ready)?;
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
        match message.process(notify(&key, payload, &outbox)).await {
            Err(EmailError::Kafka(error)) => return Err(error.into()), // not committed: it comes again
            Ok(()) | Err(EmailError::Bounced(_) | EmailError::Unreadable(_)) => {}
        }
        broker::done(&consumer, &message);
    }
    outbox.flush();
    broker::leave(&consumer);
    Ok(())
}

async fn notify(key: &str, payload: &[u8], outbox: &Outbox) -> Result<(), EmailError> {
    let payment: Payment = serde_json::from_slice(payload)?;
    deliver(&payment)
        .inspect_err(|error| tracing::error!(%error, user = payment.user_id, "not delivered"))?;
    tracing::info!(user = payment.user_id, "receipt sent");
    let notification = Notification { amount: payment.amount, user_id: payment.user_id };
    outbox.publish(NOTIFICATIONS, key, &notification).await?;
    Ok(())
}

fn deliver(payment: &Payment) -> Result<(), EmailError> {
    match payment.user_id.as_str() {
        "usr_bounce" => Err(EmailError::Bounced(payment.user_id.clone())),
        _ => Ok(()),
    }
}
