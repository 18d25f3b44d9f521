//! Cutting requests into one-item requests without decoding them: the bytes of item, resource and scope are copied as
//! they stand, unknown fields and both schema URLs included.

use crate::view::GroupView;
use crate::wire::{WireError, put_bytes, put_tag, put_varint, varint_len};

/// Cuts the items of one walk out of their request. Keeps what surrounds them, gathered once a group: walking a group of
/// many items for each of them would cost the square of its size.
#[derive(Debug, Default)]
pub struct Splice<'a> {
    resource: Frame<'a>,
    scope: Frame<'a>,
}

/// Everything of a group but its children.
#[derive(Debug, Default)]
struct Frame<'a> {
    group: Option<&'a [u8]>,
    bytes: Vec<u8>,
}

impl<'a> Splice<'a> {
    /// Appends a request with only this item, its resource and its scope to `out`. `leaf` is the item's own bytes. Several
    /// such requests, one after the other, are a valid request again (repeated field 1).
    ///
    /// # Errors
    /// [`WireError`] of the groups' bytes.
    pub fn append(
        &mut self,
        resource: GroupView<'a>,
        scope: GroupView<'a>,
        leaf: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let resource = self.resource.of(resource)?;
        let scope = self.scope.of(scope)?;
        let scope_len = scope.len() + field_len(leaf.len());
        let resource_len = resource.len() + field_len(scope_len);
        out.reserve(field_len(resource_len));
        put_tag(out, 1, 2);
        put_varint(out, resource_len as u64);
        out.extend_from_slice(resource);
        put_tag(out, 2, 2);
        put_varint(out, scope_len as u64);
        out.extend_from_slice(scope);
        put_bytes(out, 2, leaf);
        Ok(())
    }
}

impl<'a> Frame<'a> {
    /// The group's frame, as known if it is the same group. Compares by address, as [`crate::decode::Groups`] does.
    fn of(&mut self, group: GroupView<'a>) -> Result<&[u8], WireError> {
        if !self.group.is_some_and(|known| std::ptr::eq(known, group.raw())) {
            self.group = None;
            self.bytes.clear();
            for field in group.frame() {
                self.bytes.extend_from_slice(field?);
            }
            self.group = Some(group.raw());
        }
        Ok(&self.bytes)
    }
}

/// Bytes of a length-delimited field with a number below 16.
fn field_len(payload: usize) -> usize {
    1 + varint_len(payload as u64) + payload
}
