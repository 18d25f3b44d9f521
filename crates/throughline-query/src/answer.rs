//! Answers on their way out: written piece by piece, counted from the first byte until the client has taken the last. Past
//! [`MAX_OUTGOING`] a request is refused with 503, in the form its API speaks; lists of traces end early and say so.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream;
use serde_json::Value as Json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::reply::{Failure, Form};
use crate::units::thousands;

#[cfg(test)]
mod tests;

/// Kilobytes of answers that are being written, or that clients have not taken yet.
pub const MAX_OUTGOING: usize = 256 * 1024;
/// An answer is handed over in pieces of this size. One that is smaller is not counted.
const PIECE: usize = 64 * 1024;

/// Counts what is on its way. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing(Arc<Semaphore>);

impl Default for Outgoing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_OUTGOING)))
    }
}

impl Outgoing {
    /// An empty answer.
    pub(crate) fn answer(&self) -> Answer {
        Answer { outgoing: self.clone(), full: Vec::new(), open: Vec::new() }
    }

    /// Room for so many bytes.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let kilobytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(kilobytes).map_err(|_| busy())
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }
}

fn busy() -> Failure {
    Failure::Busy("too many large answers are on their way; try again in a moment".to_owned())
}

/// An answer as it is written.
pub(crate) struct Answer {
    outgoing: Outgoing,
    full: Vec<Piece>,
    open: Vec<u8>,
}

/// A part of an answer, and its room until it is handed over.
struct Piece {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Answer {
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write_all(text.as_bytes()).map_err(|_| busy())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(|_| busy())
    }

    pub(crate) fn json(&mut self, value: &Json) -> Result<(), Failure> {
        serde_json::to_writer(self, value).map_err(|_| busy())
    }

    /// What `write` writes; it fails only for want of room.
    pub(crate) fn with(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), Failure> {
        write(self).map_err(|_| busy())
    }

    pub(crate) fn len(&self) -> usize {
        self.full.len() * PIECE + self.open.len()
    }

    pub(crate) fn is_small(&self) -> bool {
        self.full.is_empty()
    }

    /// As a whole, to be sent.
    pub(crate) fn into_response(mut self, media: &'static str) -> Result<Response, Failure> {
        let length = self.len();
        let body = if self.is_small() {
            Body::from(self.open)
        } else {
            let rest = std::mem::take(&mut self.open);
            self.close(rest)?;
            Body::from_stream(stream::iter(
                self.full.into_iter().map(|piece| Ok::<_, io::Error>(piece.bytes)),
            ))
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        Ok(response)
    }

    fn close(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let room = self.outgoing.room(bytes.len())?;
        self.full.push(Piece { bytes: bytes.into(), _room: room });
        Ok(())
    }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.open.len());
        self.open.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.open.len() == PIECE {
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(PIECE));
            self.close(full).map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the answers that were made in one piece, refusing in the form `F` of the API.
pub(crate) async fn counted<F: Form>(
    State(outgoing): State<Outgoing>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let length = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
    match length.filter(|length| *length >= PIECE).map(|length| (length, outgoing.room(length))) {
        None => response,
        Some((length, Ok(room))) => held(response, length, room).await.unwrap_or_else(|lost| F::tell(&lost)),
        Some((_, Err(busy))) => F::tell(&busy),
    }
}

/// The same answer in pieces, each of which keeps its part of `room` until it is handed over.
async fn held(response: Response, length: usize, room: OwnedSemaphorePermit) -> Result<Response, Failure> {
    let (mut head, body) = response.into_parts();
    // The body is one piece in memory already; this takes it out.
    let bytes = axum::body::to_bytes(body, usize::MAX).await;
    let bytes = bytes.map_err(|_| Failure::internal("an answer was lost"))?;
    let pieces = stream::unfold((bytes, room), |(mut rest, room)| async move {
        let piece = rest.split_to(PIECE.min(rest.len()));
        (!piece.is_empty()).then_some((Ok::<Bytes, io::Error>(piece), (rest, room)))
    });
    head.headers.insert(header::CONTENT_LENGTH, length.into());
    Ok(Response::from_parts(head, Body::from_stream(pieces)))
}

/// How large an answer of several traces grows. One trace is always given whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Spans of whole traces in one answer.
    pub(crate) spans: usize,
    /// Spans listed beside the traces a search found.
    pub(crate) listed: usize,
    /// Bytes after which no further trace is added.
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { spans: 50_000, listed: 20_000, bytes: 32 * 1024 * 1024 }
    }
}

/// A list in JSON that is written value by value, so that no more than one is in memory as anything but text.
pub(crate) struct List {
    answer: Answer,
    bounds: Bounds,
    items: usize,
    spans: usize,
}

impl List {
    /// `opening` is what stands before the first value, its bracket included.
    pub(crate) fn begin(mut answer: Answer, opening: &str, bounds: Bounds) -> Result<Self, Failure> {
        answer.text(opening)?;
        Ok(Self { answer, bounds, items: 0, spans: 0 })
    }

    /// Whether nothing may be added any more. One value always may.
    pub(crate) fn is_full(&self) -> bool {
        self.items > 0 && (self.spans >= self.bounds.spans || self.answer.len() >= self.bounds.bytes)
    }

    /// Adds what `write` writes: a trace of so many spans.
    pub(crate) fn push(
        &mut self,
        spans: usize,
        write: impl FnOnce(&mut Answer) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.items > 0 {
            self.answer.text(",")?;
        }
        self.items += 1;
        self.spans += spans;
        write(&mut self.answer)
    }

    /// What is said of a list that ends early, beside `asked` traces.
    pub(crate) fn cut_note(&self, asked: usize) -> String {
        cut_note(self.items, asked)
    }

    /// The answer, with what stands after the last value.
    pub(crate) fn end(mut self, closing: &str) -> Result<Response, Failure> {
        self.answer.text(closing)?;
        self.answer.into_response("application/json")
    }
}

/// What is said of an answer that would have been too large.
pub(crate) fn cut_note(given: usize, found: usize) -> String {
    format!(
        "the answer is cut for its size: it has {} of {} traces; narrow the search or ask for fewer with limit",
        thousands(given),
        thousands(found)
    )
}
