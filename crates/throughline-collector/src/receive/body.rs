//! Reading a request body within bounds: its size, the shared budget, and time. A body that comes as one frame is kept
//! as it is; only one split over several frames is copied together.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::budget::Reservation;
use crate::config::Limits;
use crate::refusal::Refusal;

/// Reads the whole body, at most `limit` bytes of it.
pub(super) async fn collect<B>(
    mut body: B,
    limit: usize,
    limits: &Limits,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // A declared length is refused before anything of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::TooLarge { limit });
    }
    let mut whole = Gathered::default();
    let deadline = Instant::now() + limits.body_timeout;
    loop {
        let next = deadline.min(Instant::now() + limits.body_idle_timeout);
        let frame = timeout_at(next, body.frame()).await.map_err(|_| Refusal::Slow)?;
        let Some(frame) = frame else { return Ok(whole.into_bytes()) };
        let frame = frame.map_err(|error| Refusal::Malformed(format!("body broke off: {error}")))?;
        // Trailers of a request say nothing in OTLP.
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        reservation.grow(data.len()).map_err(|_| Refusal::Busy)?;
        whole.push(data);
    }
}

#[derive(Default)]
enum Gathered {
    #[default]
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, data: Bytes) {
        // HTTP/2 ends many bodies with an empty frame; it must not cost a copy.
        if data.is_empty() {
            return;
        }
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut many = BytesMut::with_capacity((first.len() + data.len()) * 2);
                many.extend_from_slice(&first);
                many.extend_from_slice(&data);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.extend_from_slice(&data);
                Self::Many(many)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;
    use crate::budget::Budget;

    /// Frames, then either the end or silence.
    struct Frames {
        frames: VecDeque<Bytes>,
        ends: bool,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    async fn check(
        frames: &[&'static str],
        ends: bool,
        limit: usize,
        budget: usize,
    ) -> Result<Bytes, Refusal> {
        let frames = frames.iter().map(|f| Bytes::from_static(f.as_bytes())).collect();
        let mut reservation = Budget::new(budget).open();
        collect(Frames { frames, ends }, limit, &Limits::default(), &mut reservation).await
    }

    #[tokio::test(start_paused = true)]
    async fn size_budget_and_time_are_bounded() {
        assert_eq!(check(&[], true, 0, 0).await, Ok(Bytes::new()));
        assert_eq!(check(&["abc"], true, 3, 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(check(&["ab", "", "cd", "e"], true, 5, 5).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(check(&["ab", "cd"], true, 3, 9).await, Err(Refusal::TooLarge { limit: 3 }));
        assert_eq!(check(&["ab", "cd"], true, 9, 3).await, Err(Refusal::Busy));
        assert_eq!(check(&["ab"], false, 9, 9).await, Err(Refusal::Slow));
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let data = Bytes::from(vec![7; 64]);
        let frames = VecDeque::from([data.clone(), Bytes::new()]);
        let mut reservation = Budget::new(64).open();
        let body = Frames { frames, ends: true };
        let whole = collect(body, 64, &Limits::default(), &mut reservation).await.unwrap();
        assert_eq!(whole.as_ptr(), data.as_ptr());
    }
}
