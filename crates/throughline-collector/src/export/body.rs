//! An export request in pieces. Requests one after the other are one request, so what was accepted in several can be sent as
//! one without being copied into one.

use std::sync::Arc;

use bytes::Bytes;

/// Pieces that are one request if they stand one behind the other; each is a request by itself. Clones share them.
#[derive(Clone, Debug)]
pub struct Body {
    pieces: Arc<[Bytes]>,
    length: usize,
}

impl Body {
    /// The pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// In one piece: copied only if there are several.
    #[must_use]
    pub fn joined(self) -> Bytes {
        if let [only] = &*self.pieces {
            return only.clone();
        }
        let mut joined = Vec::with_capacity(self.length);
        self.pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        Bytes::from(joined)
    }
}

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().collect();
        let length = pieces.iter().map(Bytes::len).sum();
        Self { pieces, length }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(whole: B) -> Self {
        std::iter::once(whole.into()).collect()
    }
}

/// The same bytes, wherever one piece ends and the next begins.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |body: &Self| body.pieces.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
        self.length == other.length && bytes(self) == bytes(other)
    }
}

impl Eq for Body {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_pieces_one_behind_the_other() {
        let piece = Bytes::from(b"abc".to_vec());
        let whole = Body::from(piece.clone());
        assert_eq!(whole.clone().joined().as_ptr(), piece.as_ptr(), "one piece is not copied");
        let pieces: Body = [&b"a"[..], b"", b"bc"].into_iter().map(Bytes::from_static).collect();
        assert_eq!((pieces.len(), pieces.is_empty(), pieces.pieces().len()), (3, false, 3));
        assert_eq!(pieces, whole);
        assert_eq!(pieces.joined(), piece);
        assert_ne!(whole, Body::from(&b"abd"[..]));
        let none: Body = std::iter::empty::<Bytes>().collect();
        assert!(none.is_empty() && none.joined().is_empty());
    }
}
