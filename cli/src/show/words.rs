//! Small things in words: choices, times, lists.

use jiff::Timestamp;
use pbjson_types::Timestamp as Stamp;
use pvc_proto::v1::Meta;

/// "VM_PHASE_SHUTTING_DOWN" without its prefix: "shutting-down". The zero value is "unknown".
pub fn choice(full: &str, prefix: &str) -> String {
    match full.trim_start_matches(prefix) {
        "UNSPECIFIED" => "unknown".to_owned(),
        rest => rest.to_lowercase().replace('_', "-"),
    }
}

/// "2026-11-23 10:00:00Z"; empty when there is none.
pub fn time(stamp: Option<&Stamp>) -> String {
    let Some(at) = moment(stamp) else { return String::new() };
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn moment(stamp: Option<&Stamp>) -> Option<Timestamp> {
    let stamp = stamp?;
    Timestamp::new(stamp.seconds, stamp.nanos).ok()
}

/// How long from one to the other: "2.1 s", "3 m 20 s"; empty when either is missing.
pub fn between(from: Option<&Stamp>, to: Option<&Stamp>) -> String {
    let (Some(from), Some(to)) = (moment(from), moment(to)) else { return String::new() };
    let ms = to.as_millisecond().saturating_sub(from.as_millisecond()).max(0);
    duration(std::time::Duration::from_millis(ms as u64))
}

/// "2.1 s", "3 m 20 s", "5 h 2 m", "3 d 4 h".
pub fn duration(length: std::time::Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

pub fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The name of an object; empty when it has none.
pub fn name(meta: Option<&Meta>) -> &str {
    meta.map_or("", |meta| meta.name.as_str())
}

/// "", or the number.
pub fn some(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_short() {
        assert_eq!(choice("VM_PHASE_SHUTTING_DOWN", "VM_PHASE_"), "shutting-down");
        assert_eq!(choice("VM_PHASE_UNSPECIFIED", "VM_PHASE_"), "unknown");
    }

    #[test]
    fn times() {
        let at = |seconds, nanos| Some(Stamp { seconds, nanos });
        assert_eq!(time(at(1_763_892_000, 0).as_ref()), "2025-11-23 10:00:00Z");
        assert_eq!(time(None), "");
        assert_eq!(between(at(10, 0).as_ref(), at(12, 100_000_000).as_ref()), "2.1 s");
        assert_eq!(between(at(0, 0).as_ref(), at(200, 0).as_ref()), "3 m 20 s");
        assert_eq!(between(at(12, 0).as_ref(), at(10, 0).as_ref()), "0.0 s");
        assert_eq!(between(at(10, 0).as_ref(), None), "");
    }
}
