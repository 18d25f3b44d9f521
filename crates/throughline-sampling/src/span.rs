//! What is read of a span: its own fields, the attributes that are asked for, and what is around it. Borrowed from the
//! request; nothing is judged here.

mod head;
mod keys;
mod value;

pub(crate) use head::{Head, Wants};
pub(crate) use keys::{AskedKeys, Found, Keys, Slot, Twofold};
pub(crate) use value::Scalar;

/// The resource and scope around a span, as far as asked for.
#[derive(Debug, Default)]
pub(crate) struct Around<'a> {
    pub(crate) resource: Found<'a>,
    pub(crate) scope: Found<'a>,
    pub(crate) scope_name: &'a [u8],
    pub(crate) scope_version: &'a [u8],
}

/// What a condition is asked about: a span, what was found of its attributes, and what is around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'s, 'a> {
    pub(crate) head: &'s Head<'a>,
    pub(crate) attributes: &'s [Option<&'a [u8]>],
    pub(crate) around: &'s Around<'a>,
}
