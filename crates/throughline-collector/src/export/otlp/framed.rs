//! A message with what frames it before it, as one body without being copied into one.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::export::body::Body;

/// The prefix and the message's pieces. All share their bytes with every clone.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    prefix: Bytes,
    message: Body,
    /// The first piece that is not all read, and how much of it is.
    at: (usize, usize),
    remaining: usize,
}

impl Framed {
    pub(super) fn new(prefix: Bytes, message: Body) -> Self {
        let remaining = prefix.len() + message.len();
        Self { prefix, message, at: (0, 0), remaining }
    }

    /// What is left of each piece. None is empty.
    fn left(&self) -> impl Iterator<Item = &[u8]> {
        let (first, read) = self.at;
        let pieces = self.message.pieces().get(first..).unwrap_or_default().iter().enumerate();
        let left =
            pieces.map(move |(at, piece)| piece.get(if at == 0 { read } else { 0 }..).unwrap_or_default());
        std::iter::once(&*self.prefix).chain(left).filter(|piece| !piece.is_empty())
    }
}

impl Buf for Framed {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.left().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(self.left()).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len());
        self.prefix.advance(of_prefix);
        self.remaining -= count;
        let mut count = count - of_prefix;
        let (mut piece, mut read) = self.at;
        while let Some(length) = self.message.pieces().get(piece).map(Bytes::len)
            && read + count >= length
        {
            count -= length - read;
            (piece, read) = (piece + 1, 0);
        }
        self.at = (piece, read + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed() -> Framed {
        let pieces = [&b"de"[..], b"", b"f", b"g"];
        Framed::new(Bytes::from_static(b"abc"), pieces.into_iter().map(Bytes::from_static).collect())
    }

    #[test]
    fn it_reads_as_its_parts_one_behind_the_other() {
        for step in 1..=7 {
            let (mut left, mut read) = (framed(), Vec::new());
            while left.has_remaining() {
                assert_eq!(left.remaining() + read.len(), 7);
                let taken = left.chunk().len().min(step);
                assert!(taken > 0);
                read.extend_from_slice(&left.chunk()[..taken]);
                left.advance(taken);
            }
            assert_eq!(read, b"abcdefg");
            assert!(left.chunk().is_empty());
        }
        for (over, left) in [(0, "abc"), (2, "c"), (3, "de"), (4, "e"), (5, "f"), (6, "g"), (7, "")] {
            let mut read = framed();
            read.advance(over);
            assert_eq!((read.chunk(), read.remaining()), (left.as_bytes(), 7 - over));
        }
        let whole = framed();
        let mut slices = [IoSlice::new(&[]); 5];
        assert_eq!(whole.chunks_vectored(&mut slices), 4);
        assert_eq!([&*slices[0], &*slices[1], &*slices[2], &*slices[3]], [&b"abc"[..], b"de", b"f", b"g"]);
        assert_eq!(framed().chunks_vectored(&mut slices[..2]), 2);
    }
}
