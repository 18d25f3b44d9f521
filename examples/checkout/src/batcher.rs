//! batcher: settles notifications together, at five or two seconds after the last one. Many traces meet here: the batch is
//! a trace of its own, with a link to each of them, their count and their hash.

use std::{future::Future, pin::pin, time::Duration};

use rdkafka::{ClientConfig, Message as _, error::KafkaError};
use throughline::{extract_batch_lineage, kafka::Received, process, with_processing_span};

use crate::{
    Error, Ready, Service, Settings,
    broker::{self, Outbox},
    events::{NOTIFICATIONS, Notification, SETTLEMENTS, Settlement},
};

/// A batch is settled when it has so many messages …
pub const BATCH: usize = 5;
/// … or when none has come for so long.
pub const QUIET: Duration = Duration::from_secs(2);
/// Traces a batch links to; it may have no more messages than that.
const MAX_LINKS: usize = 50;

/// Consumes `notifications` until `stop` completes. What is not settled by then comes again to the next batcher.
///
/// # Errors
/// If Kafka fails for good.
pub async fn run(
    settings: &Settings,
    ready: impl FnOnce(Ready) + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let outbox = Outbox::connect(Service::Batcher, settings, &mut ClientConfig::new())?;
    let consumer = broker::subscribe(Service::Batcher, settings, NOTIFICATIONS, ready)?;
    let mut stop = pin!(stop);
    let mut batch = Vec::new();
    loop {
        let full = tokio::select! {
            () = &mut stop => break,
            received = consumer.recv() => {
                match received {
                    Ok(message) => batch.push(message),
                    Err(error) => broker::survive(error)?,
                }
                batch.len() >= BATCH
            }
            () = tokio::time::sleep(QUIET), if !batch.is_empty() => true,
        };
        if full {
            flush(&batch, &outbox).await?; // not committed if Kafka did not take it: it all comes again
            for message in batch.drain(..) {
                broker::done(&consumer, &message);
            }
        }
    }
    drop(batch);
    outbox.flush();
    broker::leave(&consumer);
    Ok(())
}

async fn flush(batch: &[Received<'_>], outbox: &Outbox) -> Result<(), KafkaError> {
    let lineage = extract_batch_lineage(batch, MAX_LINKS);
    let span = process(NOTIFICATIONS)
        .name("v1.settlements.batched process")
        .group(Service::Batcher.name())
        .lineage(lineage)
        .already_counted();
    with_processing_span(span, async |_| settle(batch, outbox).await).await
}

async fn settle(batch: &[Received<'_>], outbox: &Outbox) -> Result<(), KafkaError> {
    let notifications = batch.iter().filter_map(|message| {
        serde_json::from_slice::<Notification>(message.payload().unwrap_or_default())
            .inspect_err(|error| tracing::warn!(%error, offset = message.offset(), "unreadable notification"))
            .ok()
    });
    let (payments, total) = notifications.fold((0, 0.0), |(count, sum), one| (count + 1, sum + one.amount));
    tracing::info!(payments, total, "settling");
    outbox.publish(SETTLEMENTS, "settlement", &Settlement { payments, total }).await
}
