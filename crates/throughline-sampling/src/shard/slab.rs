//! Cells by number, in chunks that never move, and lists threaded through them. Memory grows by a chunk at a time and is
//! reused, never given back: there is no doubling, so no arrival pays for copying all that came before it.

use std::marker::PhantomData;

/// No cell.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK: usize = 4096;

/// Cells by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Stack,
    used: usize,
}

impl<T: Copy> Slab<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: Stack::default(), used: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Memory taken, used or not.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>() + self.free.bytes()
    }

    #[inline]
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.used += 1;
        if let Some(slot) = self.free.pop() {
            *self.at_mut(slot) = value;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("a chunk with room was made above");
        chunk.push(value);
        (before + chunk.len() - 1) as u32
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        let value = *self.at(slot);
        self.free.push(slot);
        self.used -= 1;
        value
    }

    #[inline]
    pub(super) fn at(&self, slot: u32) -> &T {
        let (chunk, cell) = (slot as usize / CHUNK, slot as usize % CHUNK);
        self.chunks.get(chunk).and_then(|chunk| chunk.get(cell)).expect("numbers come from insert")
    }

    #[inline]
    pub(super) fn at_mut(&mut self, slot: u32) -> &mut T {
        let (chunk, cell) = (slot as usize / CHUNK, slot as usize % CHUNK);
        self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(cell)).expect("numbers come from insert")
    }
}

/// Free cells, last in, first out. Not threaded through the cells themselves: taking one would have to wait for the memory
/// of the one before.
#[derive(Debug, Default)]
struct Stack {
    chunks: Vec<Vec<u32>>,
    /// A chunk kept for the next time one is needed.
    spare: Vec<u32>,
}

impl Stack {
    #[inline]
    fn push(&mut self, slot: u32) {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            let mut chunk = std::mem::take(&mut self.spare);
            chunk.reserve_exact(CHUNK);
            self.chunks.push(chunk);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(slot);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        let chunk = self.chunks.last_mut()?;
        let slot = chunk.pop();
        if chunk.is_empty() {
            self.spare = self.chunks.pop().unwrap_or_default();
        }
        slot
    }

    fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<u32>()
    }
}

/// A cell's neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Link {
    pub(super) const NONE: Self = Self { prev: NONE, next: NONE };
}

/// A cell with a place in lists of kind `K`: in at most one of them at a time.
pub(super) trait Linked<K> {
    fn link(&mut self) -> &mut Link;
}

/// First in, first out, with removal from the middle.
#[derive(Debug)]
pub(super) struct List<K> {
    front: u32,
    back: u32,
    len: usize,
    kind: PhantomData<K>,
}

impl<K> List<K> {
    pub(super) fn new() -> Self {
        Self { front: NONE, back: NONE, len: 0, kind: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    pub(super) fn push_back<T: Copy + Linked<K>>(&mut self, cells: &mut Slab<T>, slot: u32) {
        *cells.at_mut(slot).link() = Link { prev: self.back, next: NONE };
        if self.back == NONE {
            self.front = slot;
        } else {
            cells.at_mut(self.back).link().next = slot;
        }
        self.back = slot;
        self.len += 1;
    }

    pub(super) fn remove<T: Copy + Linked<K>>(&mut self, cells: &mut Slab<T>, slot: u32) {
        let Link { prev, next } = std::mem::replace(cells.at_mut(slot).link(), Link::NONE);
        if prev == NONE {
            self.front = next;
        } else {
            cells.at_mut(prev).link().next = next;
        }
        if next == NONE {
            self.back = prev;
        } else {
            cells.at_mut(next).link().prev = prev;
        }
        self.len -= 1;
    }
}
