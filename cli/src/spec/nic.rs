//! NICs and their rates, as people write them.

use pvc_proto::v1::{Nic, NicRate};

use super::size::parse_bytes;
use crate::failure::Failure;

const NIC_FORM: &str = "--nic network=NETWORK|upstream|cluster|storage or bridge=NAME, then [,mac=MAC]\
    [,model=virtio|e1000e|rtl8139][,link=up|down][,rate-in=RATE][,rate-out=RATE][,spoof-check=on|off][,address=IP]…";

/// network=NETWORK or bridge=NAME, then what else is to be said of it.
pub fn nic(text: &str) -> Result<Nic, Failure> {
    let refuse = |detail: String| Failure::usage(format!("--nic {text}"), detail).help(NIC_FORM);
    let mut nic = Nic::default();
    for part in text.split(',') {
        let unknown = || refuse(format!("unknown part \"{part}\""));
        let (key, value) = part.split_once('=').ok_or_else(unknown)?;
        let one_of = |words: [&str; 2]| match words.iter().position(|word| *word == value) {
            Some(index) => Ok(index == 1),
            None => Err(refuse(format!("{key} is {} or {}, not \"{value}\"", words[0], words[1]))),
        };
        let rate = || parse_rate(value).map(Some).map_err(|e| refuse(e.to_string()));
        match key {
            "network" => nic.network = value.to_owned(),
            "bridge" => nic.bridge = value.to_owned(),
            "mac" => nic.mac = value.to_owned(),
            "model" => nic.model = value.to_owned(),
            "link" => nic.link_down = one_of(["up", "down"])?,
            "rate-in" => nic.rate_in = rate()?,
            "rate-out" => nic.rate_out = rate()?,
            "spoof-check" => nic.trusted = one_of(["on", "off"])?,
            "address" => nic.addresses.push(value.to_owned()),
            _ => return Err(unknown()),
        }
    }
    if nic.network.is_empty() == nic.bridge.is_empty() {
        return Err(refuse("it is on one network, or on one bridge".to_owned()));
    }
    Ok(nic)
}

/// What a NIC is attached to, in one word.
pub fn attachment(nic: &Nic) -> &str {
    if nic.network.is_empty() { &nic.bridge } else { &nic.network }
}

/// A rate that can't be read; the text tells what was given and what is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad rate \"{given}\": bits/s with K, M or G, as in 100M; then a peak, and a burst in bytes, as in 100M/200M/1M"
)]
pub struct RateError {
    given: String,
}

/// AVERAGE[/PEAK[/BURST]]. Units of rates are decimal, as everywhere with networks; a plain number is kbit/s.
pub fn parse_rate(text: &str) -> Result<NicRate, RateError> {
    let refuse = || RateError { given: text.to_owned() };
    let mut parts = text.split('/');
    let average = parts.next().and_then(kbit).ok_or_else(refuse)?;
    let peak = parts.next().map(|part| kbit(part).ok_or_else(refuse)).transpose()?;
    let burst = parts.next().map(|part| kib(part).ok_or_else(refuse)).transpose()?;
    if parts.next().is_some() || average == 0 {
        return Err(refuse());
    }
    Ok(NicRate {
        average_kbit: average,
        peak_kbit: peak.unwrap_or_default(),
        burst_kib: burst.unwrap_or_default(),
    })
}

/// A rate, or `none`: no limit.
pub fn parse_rate_or_none(text: &str) -> Result<NicRate, RateError> {
    if text == "none" { Ok(NicRate::default()) } else { parse_rate(text) }
}

fn kbit(text: &str) -> Option<u32> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "" | "K" | "k" => 1,
        "M" | "m" => 1000,
        "G" | "g" => 1_000_000,
        _ => return None,
    };
    u32::try_from(number.parse::<u64>().ok()?.checked_mul(unit)?).ok()
}

fn kib(text: &str) -> Option<u32> {
    let bytes = parse_bytes(text).ok()?;
    u32::try_from(bytes.div_ceil(1024)).ok().filter(|kib| *kib > 0)
}

/// As `parse_rate` reads it; empty: no limit.
pub fn show_rate(rate: Option<&NicRate>) -> String {
    let Some(rate) = rate.filter(|rate| rate.average_kbit > 0) else { return String::new() };
    let bits = |kbit: u32| match kbit {
        _ if kbit.is_multiple_of(1_000_000) => format!("{}G", kbit / 1_000_000),
        _ if kbit.is_multiple_of(1000) => format!("{}M", kbit / 1000),
        _ => format!("{kbit}K"),
    };
    let burst = match rate.burst_kib {
        kib if kib.is_multiple_of(1024) => format!("{}M", kib / 1024),
        kib => format!("{kib}K"),
    };
    match (rate.peak_kbit, rate.burst_kib) {
        (0, 0) => bits(rate.average_kbit),
        (peak, 0) => format!("{}/{}", bits(rate.average_kbit), bits(peak)),
        // A burst stands third: without a peak of its own it is at the average's.
        (0, _) => format!("{}/{}/{burst}", bits(rate.average_kbit), bits(rate.average_kbit)),
        (peak, _) => format!("{}/{}/{burst}", bits(rate.average_kbit), bits(peak)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nics() {
        let made = nic("bridge=vmbr0,model=e1000e").expect("it is right");
        assert_eq!((made.bridge.as_str(), made.model.as_str()), ("vmbr0", "e1000e"));
        let made =
            nic("network=1001,link=down,spoof-check=off,rate-in=1M,address=192.0.2.7,address=2001:db8::7")
                .expect("it is right");
        assert_eq!((made.network.as_str(), made.link_down, made.trusted), ("1001", true, true));
        assert_eq!(made.rate_in.map(|rate| rate.average_kbit), Some(1000));
        assert_eq!(made.addresses, ["192.0.2.7", "2001:db8::7"]);
        for (bad, detail) in [
            ("mac=52:54:00:00:00:01", "it is on one network, or on one bridge"),
            ("network=1001,bridge=br0", "it is on one network, or on one bridge"),
            ("vmbr0", "unknown part \"vmbr0\""),
            ("network=1001,colour=red", "unknown part \"colour=red\""),
            ("network=1001,link=sideways", "link is up or down, not \"sideways\""),
            ("network=1001,spoof-check=no", "spoof-check is on or off, not \"no\""),
        ] {
            let failure = nic(bad).expect_err("it is refused");
            assert_eq!((failure.detail.as_str(), failure.help.as_str()), (detail, NIC_FORM));
        }
        assert!(
            nic("network=1,rate-in=fast").expect_err("it is refused").detail.starts_with("bad rate \"fast\"")
        );
    }

    #[test]
    fn rates() {
        let rate = |average_kbit, peak_kbit, burst_kib| NicRate { average_kbit, peak_kbit, burst_kib };
        for (text, meant) in [
            ("100M", rate(100_000, 0, 0)),
            ("64K", rate(64, 0, 0)),
            ("1G/2G", rate(1_000_000, 2_000_000, 0)),
            ("100M/200M/1M", rate(100_000, 200_000, 1024)),
            ("1500K/1500K/64K", rate(1500, 1500, 64)),
        ] {
            assert_eq!(parse_rate(text), Ok(meant), "{text}");
            assert_eq!(show_rate(Some(&meant)), text);
        }
        assert_eq!(parse_rate("512"), Ok(rate(512, 0, 0)));
        for bad in ["", "0", "M", "1T", "1M/", "1M/2M/", "1M/2M/3M/4M", "-1M", "99999999G", "none"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_rate_or_none("none"), Ok(NicRate::default()));
        assert_eq!((show_rate(None), show_rate(Some(&NicRate::default()))), (String::new(), String::new()));
    }
}
