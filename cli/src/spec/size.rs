//! Sizes as people write them. Units are binary: 10G is 10 GiB.

/// A size that can't be read; the text tells what was given and what is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad size \"{given}\": a number with K, M, G or T, as in 10G (10 GiB)")]
pub struct SizeError {
    given: String,
}

const MIB: u64 = 1 << 20;

/// A number of bytes: "10G", "512MiB", "1.5T", or a plain number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    parse(text, 1)
}

/// A number of MiB: "2G", "512M", or a plain number of MiB. Less than a whole MiB is refused.
pub fn parse_mib(text: &str) -> Result<u64, SizeError> {
    let bytes = parse(text, MIB)?;
    if bytes % MIB == 0 { Ok(bytes / MIB) } else { Err(SizeError { given: text.to_owned() }) }
}

fn parse(text: &str, plain_unit: u64) -> Result<u64, SizeError> {
    let refuse = || SizeError { given: text.to_owned() };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let unit = match suffix.trim_start() {
        "" => plain_unit,
        "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => MIB,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        _ => return Err(refuse()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 6 {
        return Err(refuse());
    }
    let whole: u64 = whole.parse().map_err(|_| refuse())?;
    // 10^6 * 2^40 fits in 64 bits, so the fraction can't overflow.
    let scale = 10_u64.pow(fraction.len() as u32);
    let part = fraction.parse::<u64>().map_err(|_| refuse())? * unit;
    if part % scale != 0 {
        return Err(refuse());
    }
    whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(part / scale)).ok_or_else(refuse)
}

/// For people: "512 MiB", "1.5 GiB", "0 B".
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut below = 1_u64;
    while unit + 1 < UNITS.len() && bytes / below >= 1024 {
        below <<= 10;
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(below) / 2) / u128::from(below);
    if tenths % 10 == 0 {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// For people, from MiB.
pub fn show_mib(mib: u64) -> String {
    show_bytes(mib.saturating_mul(MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("10G", 10 << 30),
            ("512M", 512 << 20),
            ("1.5T", 3 << 39),
            ("64 KiB", 65536),
            ("4096", 4096),
            ("7B", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_mib("2G"), Ok(2048));
        assert_eq!(parse_mib("512"), Ok(512));
        assert_eq!(parse_mib("0.5G"), Ok(512));
    }

    #[test]
    fn refuses_what_is_not_clear() {
        for text in ["", "G", "10GB", "ten", "-1G", ".5G", "1.G", "1.0000001T", "99999999999T", "1.1B"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert!(parse_mib("1K").is_err());
        assert_eq!(
            parse_bytes("10GB").unwrap_err().to_string(),
            "bad size \"10GB\": a number with K, M, G or T, as in 10G (10 GiB)"
        );
    }

    #[test]
    fn shows_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536 << 20, "1.5 GiB"),
            (10 << 30, "10 GiB"),
            (5 << 50, "5120 TiB"),
        ] {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}
