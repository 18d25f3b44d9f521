//! What a handler may return, and how its failure is named on the span. Reads errors by reference; never changes, boxes or
//! swallows one.

use std::any::{Any, type_name};
use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::sync::{PoisonError, RwLock};

/// A failure as it stands on a span: `error.type`, the exception event and the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A name of low cardinality: an error code or a type's name. `_OTHER` if there is none worth having.
    pub error_type: Cow<'static, str>,
    /// The error's own words.
    pub message: String,
}

/// What a handler may return: nothing, any [`Result`] whose error can be displayed, or never (`!`, [`Infallible`]).
///
/// There is no bound on `std::error::Error`, so `anyhow::Error`, `Box<dyn Error + Send + Sync>` and plain strings do as
/// well. A handler that cannot fail and returns a value returns `Ok::<_, Infallible>(value)`.
///
/// # What stands in `error.type`
///
/// The first of these that there is: what a hook says ([`name_errors`]; the Kafka clients register one for `KafkaError`), the
/// kind of an `io::Error`, the error's type. For a `Box<dyn Error>` each of its causes is asked after it, and `_OTHER` stands
/// where none has a name.
///
/// The causes of an error of your own are not looked at unless you say so, once, with [`name_by_cause`]: without a bound on
/// `Error` nothing here can see them.
///
/// rdkafka's `(KafkaError, OwnedMessage)` cannot be displayed: use the wrapper's `publish`, or `map_err(|(e, _)| e)`.
pub trait Outcome {
    /// The failure, or `None` on success.
    fn failure(&self) -> Option<Failure>;
}

impl Outcome for () {
    fn failure(&self) -> Option<Failure> {
        None
    }
}

/// What cannot be there has no failure.
impl Outcome for Infallible {
    fn failure(&self) -> Option<Failure> {
        match *self {}
    }
}

/// A handler that never returns, a loop for one: it can only panic or be dropped, which its span tells.
impl Outcome for never::Never {
    fn failure(&self) -> Option<Failure> {
        match *self {}
    }
}

/// The type `!`, which stable Rust lets nobody name but as what a function returns.
mod never {
    pub trait Returns {
        type Output;
    }

    impl<R> Returns for fn() -> R {
        type Output = R;
    }

    pub type Never = <fn() -> ! as Returns>::Output;
}

impl<T, E: Display + 'static> Outcome for Result<T, E> {
    fn failure(&self) -> Option<Failure> {
        let error = self.as_ref().err()?;
        Some(Failure { error_type: error_type(error), message: error.to_string() })
    }
}

/// An error of unknown type, as a naming hook sees it.
#[derive(Clone, Copy)]
pub struct ErrorRef<'a>(Inner<'a>);

#[derive(Clone, Copy)]
enum Inner<'a> {
    Value(&'a dyn Any),
    Cause(&'a (dyn Error + 'static)),
}

impl<'a> ErrorRef<'a> {
    /// The error as a `T`, if it is one. `T` may be any type, `anyhow::Error` for one; for a boxed error and for the
    /// causes of an error only types that implement [`Error`] can be found: use [`ErrorRef::downcast_cause`].
    #[must_use]
    pub fn downcast_ref<T: 'static>(self) -> Option<&'a T> {
        match self.0 {
            Inner::Value(value) => value.downcast_ref(),
            Inner::Cause(_) => None,
        }
    }

    /// The error as a `T`, whether it was returned as it is, boxed, or is a cause of a boxed error or of one that is
    /// [named by its cause](name_by_cause).
    #[must_use]
    pub fn downcast_cause<T: Error + 'static>(self) -> Option<&'a T> {
        match self.0 {
            Inner::Value(value) => value.downcast_ref(),
            Inner::Cause(cause) => cause.downcast_ref(),
        }
    }
}

/// Names an error, or leaves it to the next hook.
pub type NameError = fn(ErrorRef<'_>) -> Option<Cow<'static, str>>;

static HOOKS: RwLock<Vec<NameError>> = RwLock::new(Vec::new());

/// Registers a hook that gives errors their `error.type`. Later hooks are asked first; registering one twice does nothing.
///
/// Worth having where the type's name says nothing: `anyhow::Error` (look through its `chain()`), or an enum whose variants
/// matter. Keep the number of different names small: they are a metric's label. Where an error's cause should name it,
/// [`name_by_cause`] is shorter.
///
/// ```
/// use throughline::{ErrorRef, Outcome, name_errors};
/// #[derive(Debug)]
/// struct Declined(u16);
/// impl std::fmt::Display for Declined {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "declined: {}", self.0) }
/// }
/// name_errors(|error| error.downcast_ref::<Declined>().map(|d| format!("DECLINED_{}", d.0).into()));
/// assert_eq!(Err::<(), _>(Declined(51)).failure().unwrap().error_type, "DECLINED_51");
/// ```
pub fn name_errors(hook: NameError) {
    let mut hooks = HOOKS.write().unwrap_or_else(PoisonError::into_inner);
    if !hooks.iter().any(|known| std::ptr::fn_addr_eq(*known, hook)) {
        hooks.push(hook);
    }
}

/// Lets errors of the type `E` be named by their causes: by the first in the chain of [`Error::source`] that a hook knows or
/// that is an `io::Error`. Where no cause has a name, `E` is named as ever.
///
/// ```
/// use throughline::{Outcome, name_by_cause};
/// #[derive(Debug, thiserror::Error)]
/// #[error("the order could not be stored")]
/// struct Store(#[source] std::io::Error);
///
/// name_by_cause::<Store>();
/// let full = Store(std::io::ErrorKind::StorageFull.into());
/// assert_eq!(Err::<(), _>(full).failure().unwrap().error_type, "StorageFull");
/// ```
///
/// So is an error that wraps rdkafka's `KafkaError`, which then stands there by its code (`_MSG_TIMED_OUT`).
pub fn name_by_cause<E: Error + 'static>() {
    name_errors(|error| named_cause(error.downcast_ref::<E>()?.source()));
}

/// Copied, because a hook may ask the others.
fn ask_hooks(error: ErrorRef<'_>) -> Option<Cow<'static, str>> {
    let hooks = HOOKS.read().unwrap_or_else(PoisonError::into_inner).clone();
    hooks.iter().rev().find_map(|hook| hook(error))
}

/// The name of an error: what a hook says, an I/O error's kind, the type's name, or `_OTHER` for types whose name says
/// nothing.
pub(crate) fn error_type<E: 'static>(error: &E) -> Cow<'static, str> {
    if let Some(name) = ask_hooks(ErrorRef(Inner::Value(error))) {
        return name;
    }
    if let Some(boxed) = boxed(error) {
        return named_cause(Some(boxed)).unwrap_or(Cow::Borrowed(OTHER));
    }
    let value: &dyn Any = error;
    if let Some(io) = value.downcast_ref::<std::io::Error>() {
        return format!("{:?}", io.kind()).into();
    }
    let name = type_name::<E>();
    let says_nothing = name.starts_with("alloc::")
        || name.starts_with('&')
        || name == "str"
        || matches!(name, "anyhow::Error" | "eyre::Report" | "color_eyre::Report");
    Cow::Borrowed(if says_nothing { OTHER } else { name })
}

const OTHER: &str = "_OTHER";

/// The error inside one of the usual boxes.
fn boxed(value: &dyn Any) -> Option<&(dyn Error + 'static)> {
    if let Some(error) = value.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(&**error);
    }
    if let Some(error) = value.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(&**error);
    }
    value.downcast_ref::<Box<dyn Error>>().map(|error| &**error)
}

/// The name of the first of an error and its causes that has one.
fn named_cause(error: Option<&(dyn Error + 'static)>) -> Option<Cow<'static, str>> {
    std::iter::successors(error, |&error| error.source()).find_map(|error| {
        let io = || error.downcast_ref::<std::io::Error>().map(|io| format!("{:?}", io.kind()).into());
        ask_hooks(ErrorRef(Inner::Cause(error))).or_else(io)
    })
}

/// A panic's message. The payload is a `&str` or a `String` in all but exotic cases.
pub(crate) fn panic_failure(payload: &(dyn Any + Send)) -> Failure {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Failure { error_type: Cow::Borrowed("panic"), message: text.unwrap_or("panicked").to_owned() }
}

/// A span that was dropped before its work was done.
pub(crate) fn cancelled() -> Failure {
    Failure { error_type: Cow::Borrowed("cancelled"), message: "dropped before it finished".to_owned() }
}
