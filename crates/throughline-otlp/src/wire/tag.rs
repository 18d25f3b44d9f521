//! Tags of a span's fields that are one byte on the wire, number and wire type, for who tells fields apart by that byte alone.

const fn tag(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

/// `trace_id`
pub const TRACE_ID: u8 = tag(1, 2);
/// `span_id`
pub const SPAN_ID: u8 = tag(2, 2);
/// `trace_state`
pub const TRACE_STATE: u8 = tag(3, 2);
/// `parent_span_id`
pub const PARENT_SPAN_ID: u8 = tag(4, 2);
/// `name`
pub const NAME: u8 = tag(5, 2);
/// `kind`
pub const KIND: u8 = tag(6, 0);
/// `start_time_unix_nano`
pub const START: u8 = tag(7, 1);
/// `end_time_unix_nano`
pub const END: u8 = tag(8, 1);
/// `attributes`
pub const ATTRIBUTE: u8 = tag(9, 2);
/// `dropped_attributes_count`
pub const DROPPED_ATTRIBUTES: u8 = tag(10, 0);
/// `events`
pub const EVENT: u8 = tag(11, 2);
/// `dropped_events_count`
pub const DROPPED_EVENTS: u8 = tag(12, 0);
/// `links`
pub const LINK: u8 = tag(13, 2);
/// `dropped_links_count`
pub const DROPPED_LINKS: u8 = tag(14, 0);
/// `status`
pub const STATUS: u8 = tag(15, 2);

/// `code` of a status.
pub const STATUS_CODE: u8 = tag(3, 0);

/// `key` of an attribute.
pub const KEY: u8 = tag(1, 2);
/// `value` of an attribute.
pub const VALUE: u8 = tag(2, 2);
/// `string_value` of a value.
pub const STRING: u8 = tag(1, 2);
/// `bool_value` of a value.
pub const BOOL: u8 = tag(2, 0);
/// `int_value` of a value.
pub const INT: u8 = tag(3, 0);
/// `double_value` of a value.
pub const DOUBLE: u8 = tag(4, 1);
/// `bytes_value` of a value.
pub const BYTES: u8 = tag(7, 2);
