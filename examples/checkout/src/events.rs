//! What travels through the topics, as JSON; and how a checkout request is read, so that a bad one is told which field
//! is wrong.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Topic of [`Order`].
pub const ORDERS: &str = "orders";
/// Topic of [`Payment`].
pub const PAYMENTS: &str = "payments";
/// Topic of [`Notification`].
pub const NOTIFICATIONS: &str = "notifications";
/// Topic of [`Settlement`].
pub const SETTLEMENTS: &str = "settlements";

/// A checkout that was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// In the request's currency.
    pub cart_value: f64,
    /// At least one.
    pub item_count: u64,
    /// Who buys.
    pub user_id: String,
    /// On whose platform.
    pub tenant_id: String,
}

/// An order that was paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// What was charged.
    pub amount: f64,
    /// Who was charged.
    pub user_id: String,
}

/// A payment the customer was told about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// What will be settled.
    pub amount: f64,
    /// Who was told.
    pub user_id: String,
}

/// Some payments, settled together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// How many payments.
    pub payments: usize,
    /// Their sum.
    pub total: f64,
}

/// What is wrong with a request's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// It is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    NotAnObject(String),
    /// A field is missing or of no use.
    #[error("field `{field}` must be {expected}, got {got}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}

impl Order {
    /// Reads a request's body.
    ///
    /// # Errors
    /// If it is no JSON object, or a field of it is missing or of no use.
    pub fn from_request(body: &[u8]) -> Result<Order, BadOrder> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| BadOrder::NotAnObject(error.to_string()))?;
        if !body.is_object() {
            return Err(BadOrder::NotAnObject(format!("it is {body}")));
        }
        let name = |value: &Value| value.as_str().map(str::to_owned).filter(|text| !text.trim().is_empty());
        Ok(Order {
            cart_value: field(&body, "cartValue", "a number above zero", |value| {
                value.as_f64().filter(|amount| *amount > 0.0)
            })?,
            item_count: field(&body, "itemCount", "a whole number above zero", |value| {
                value.as_u64().filter(|count| *count > 0)
            })?,
            user_id: field(&body, "userId", "a text that is not empty", name)?,
            tenant_id: field(&body, "tenantId", "a text that is not empty", name)?,
        })
    }
}

fn field<T>(
    body: &Value,
    field: &'static str,
    expected: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<T, BadOrder> {
    let value = body.get(field);
    let got = || value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    value.and_then(read).ok_or_else(|| BadOrder::Field { field, expected, got: got() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_body_is_told_what_is_wrong_with_which_field() {
        let good = r#"{"cartValue":149.99,"itemCount":2,"userId":"usr_123","tenantId":"acme"}"#;
        let order = Order::from_request(good.as_bytes()).unwrap();
        assert_eq!((order.cart_value, order.item_count, order.tenant_id.as_str()), (149.99, 2, "acme"));

        for (body, expected) in [
            ("", "the body is not a JSON object: EOF while parsing a value at line 1 column 0"),
            ("[1]", "the body is not a JSON object: it is [1]"),
            ("{}", "field `cartValue` must be a number above zero, got nothing"),
            (
                &good.replace("149.99", "\"much\""),
                "field `cartValue` must be a number above zero, got \"much\"",
            ),
            (&good.replace("149.99", "-1"), "field `cartValue` must be a number above zero, got -1"),
            (&good.replace(":2,", ":2.5,"), "field `itemCount` must be a whole number above zero, got 2.5"),
            (&good.replace("usr_123", " "), "field `userId` must be a text that is not empty, got \" \""),
            (
                &good.replace("\"acme\"", "null"),
                "field `tenantId` must be a text that is not empty, got null",
            ),
        ] {
            assert_eq!(Order::from_request(body.as_bytes()).unwrap_err().to_string(), expected, "{body}");
        }
    }
}
