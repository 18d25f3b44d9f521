//! A message with what frames it before it, as one body without being copied into one.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Both parts share their bytes with every clone.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    prefix: Bytes,
    message: Bytes,
}

impl Framed {
    pub(super) fn new(prefix: Bytes, message: Bytes) -> Self {
        Self { prefix, message }
    }
}

impl Buf for Framed {
    fn remaining(&self) -> usize {
        self.prefix.len() + self.message.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.prefix.is_empty() { &self.message } else { &self.prefix }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = [&self.prefix, &self.message].into_iter().filter(|part| !part.is_empty());
        let filled = slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part));
        filled.count()
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len());
        self.prefix.advance(of_prefix);
        self.message.advance(count - of_prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_its_parts_one_behind_the_other() {
        let framed = || Framed::new(Bytes::from_static(b"abc"), Bytes::from_static(b"defg"));
        for step in 1..=7 {
            let (mut left, mut read) = (framed(), Vec::new());
            while left.has_remaining() {
                assert_eq!(left.remaining() + read.len(), 7);
                let taken = left.chunk().len().min(step);
                read.extend_from_slice(&left.chunk()[..taken]);
                left.advance(taken);
            }
            assert_eq!(read, b"abcdefg");
        }
        let mut over = framed();
        over.advance(5);
        assert_eq!(over.chunk(), b"fg");
        let whole = framed();
        let mut slices = [IoSlice::new(&[]); 3];
        assert_eq!(whole.chunks_vectored(&mut slices), 2);
        assert_eq!([&*slices[0], &*slices[1]], [b"abc".as_slice(), b"defg"]);
        assert_eq!(framed().chunks_vectored(&mut slices[..1]), 1);
    }
}
