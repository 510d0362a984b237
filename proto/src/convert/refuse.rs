//! Refusing a message: every refusal names the object, the field's path and the rule. What stands here
//! checks single values; rules over several objects belong to `pvc-model`'s decisions.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use pvc_model::{Name, Rejection, Timestamp, Uid};

/// Where in a message a value stands. Costs nothing until something is refused.
#[derive(Clone, Copy)]
pub struct At<'a> {
    subject: &'a str,
    parent: Option<&'a At<'a>>,
    field: &'a str,
    index: Option<usize>,
}

impl<'a> At<'a> {
    /// The message itself; `subject` is like "vm/web1".
    pub fn new(subject: &'a str) -> Self {
        At { subject, parent: None, field: "", index: None }
    }

    pub fn field(&'a self, field: &'a str) -> At<'a> {
        At { subject: self.subject, parent: Some(self), field, index: None }
    }

    /// One value of a repeated field.
    pub fn item(&'a self, field: &'a str, index: usize) -> At<'a> {
        At { subject: self.subject, parent: Some(self), field, index: Some(index) }
    }

    /// `detail` follows the path: "spec.vcpus: must be …".
    pub fn refuse(&self, rule: &'static str, detail: impl fmt::Display) -> Rejection {
        let path = self.to_string();
        let detail = if path.is_empty() { detail.to_string() } else { format!("{path}: {detail}") };
        Rejection::invalid(rule, self.subject, detail)
    }

    pub fn name(&self, text: &str) -> Result<Name, Rejection> {
        text.parse().map_err(|error| self.refuse("bad-name", error))
    }

    /// Empty: none.
    pub fn optional_name(&self, text: &str) -> Result<Option<Name>, Rejection> {
        if text.is_empty() { Ok(None) } else { self.name(text).map(Some) }
    }

    /// A list that is a set: the order is not kept, doubles are one.
    pub fn names(&'a self, field: &'a str, texts: &[String]) -> Result<BTreeSet<Name>, Rejection> {
        texts.iter().enumerate().map(|(index, text)| self.item(field, index).name(text)).collect()
    }

    pub fn uid(&self, text: &str) -> Result<Uid, Rejection> {
        text.parse().map_err(|error| self.refuse("bad-uid", error))
    }

    pub fn present<T>(&self, value: Option<T>) -> Result<T, Rejection> {
        value.ok_or_else(|| self.refuse("must-be-set", "must be set"))
    }

    pub fn within<T>(&self, value: T, range: RangeInclusive<T>) -> Result<T, Rejection>
    where
        T: PartialOrd + fmt::Display,
    {
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = range.into_inner();
        Err(self.refuse("out-of-range", format_args!("must be {least} to {most}, not {value}")))
    }

    /// At most `most` of something countable ("tags", "characters").
    pub fn at_most(&self, have: usize, most: usize, what: &str) -> Result<(), Rejection> {
        if have <= most {
            return Ok(());
        }
        Err(self.refuse("too-many", format_args!("at most {most} {what}, not {have}")))
    }

    /// Milliseconds are kept; what is finer is dropped.
    pub fn time(&self, value: Option<&pbjson_types::Timestamp>) -> Result<Timestamp, Rejection> {
        let time = self.present(value)?;
        let bad = || self.refuse("out-of-range", "must be a time between 1970 and the end of time");
        let seconds = u64::try_from(time.seconds).map_err(|_| bad())?;
        let nanos = u32::try_from(time.nanos).ok().filter(|n| *n < 1_000_000_000).ok_or_else(bad)?;
        let millis = seconds.checked_mul(1000).and_then(|ms| ms.checked_add(u64::from(nanos / 1_000_000)));
        millis.map(Timestamp).ok_or_else(bad)
    }
}

/// The path from the message to the value: "spec.disks[1].volume".
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent.filter(|parent| !parent.field.is_empty()) {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.field)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// The wire's form of a time.
pub fn wire_time(time: Timestamp) -> pbjson_types::Timestamp {
    let nanos = (time.0 % 1000) as i32 * 1_000_000;
    pbjson_types::Timestamp { seconds: (time.0 / 1000) as i64, nanos }
}

/// The wire's form of an optional name: empty where there is none.
pub(crate) fn wire_name(name: Option<&Name>) -> String {
    name.map(Name::to_string).unwrap_or_default()
}

/// An enumeration of `pvc-model` that arrives as a protobuf number.
pub(crate) trait WireEnum: Sized {
    /// What stands for "unset" is refused.
    fn from_wire(number: i32, at: &At<'_>) -> Result<Self, Rejection>;

    /// What stands for "unset" is `default`.
    fn from_wire_or(number: i32, default: Self, at: &At<'_>) -> Result<Self, Rejection> {
        if number == 0 { Ok(default) } else { Self::from_wire(number, at) }
    }
}

/// Pairs the values of a wire enumeration with those of a model enumeration of the same names.
/// Values of the wire that the model's lacks are refused where they arrive.
macro_rules! wire_enum {
    ($wire:ty, $model:ty, { $($value:ident),+ $(,)? }) => {
        impl From<$model> for $wire {
            fn from(value: $model) -> Self {
                match value {
                    $(<$model>::$value => <$wire>::$value,)+
                }
            }
        }

        impl $crate::convert::refuse::WireEnum for $model {
            fn from_wire(
                number: i32,
                at: &$crate::convert::refuse::At<'_>,
            ) -> Result<Self, pvc_model::Rejection> {
                match <$wire>::try_from(number) {
                    Ok(<$wire>::Unspecified) => Err(at.refuse("must-be-set", "must be set")),
                    $(Ok(<$wire>::$value) => Ok(<$model>::$value),)+
                    #[allow(unreachable_patterns, reason = "only some wire enumerations have values to spare")]
                    Ok(other) => {
                        Err(at.refuse("unknown-value", format_args!("{} can't stand here", other.as_str_name())))
                    }
                    Err(_) => Err(at.refuse("unknown-value", format_args!("no value has the number {number}"))),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use super::*;

    fn detail<T: fmt::Debug>(result: Result<T, Rejection>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_object_path_and_rule() {
        let vm = At::new("vm/web1");
        let spec = vm.field("spec");
        let disk = spec.item("disks", 1);
        assert_eq!(
            detail(disk.field("volume").name("")),
            "vm/web1: spec.disks[1].volume: a name must not be empty [bad-name]"
        );
        assert_eq!(
            detail(spec.field("vcpus").within(0, 1..=512)),
            "vm/web1: spec.vcpus: must be 1 to 512, not 0 [out-of-range]"
        );
        assert_eq!(vm.refuse("must-be-off", "is running").to_string(), "vm/web1: is running [must-be-off]");
    }

    #[test]
    fn times_keep_their_milliseconds() {
        for millis in [0, 1, 999, 1000, 1_795_000_000_123, u64::MAX] {
            let wire = wire_time(Timestamp(millis));
            assert_eq!(At::new("x").time(Some(&wire)), Ok(Timestamp(millis)));
        }
        let bad = |seconds, nanos| At::new("x").time(Some(&pbjson_types::Timestamp { seconds, nanos }));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(bad(seconds, nanos).unwrap_err().rule, "out-of-range", "{seconds} {nanos}");
        }
        assert_eq!(At::new("x").time(None).unwrap_err().rule, "must-be-set");
    }
}
