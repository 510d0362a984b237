//! Stands in for the crate `base2histogram`. openraft counts its batches in such histograms, and shows them
//! only with its feature `runtime-stats`, which is off here. The real crate makes its tables for all sixteen
//! resolutions at the first use: 27 MiB of each coordinator's memory, for nothing. This one remembers nothing,
//! and has what openraft asks for. See docs/decisions/0013.

use std::fmt;
use std::marker::PhantomData;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    pub fn new() -> Self {
        Histogram(PhantomData)
    }

    /// Forgets it.
    pub fn record(&mut self, _value: u64) {}

    /// Forgets all of them.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// All zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// An empty chart.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart;

impl AsciiChart {
    pub fn new() -> Self {
        AsciiChart
    }

    /// Leaves it out.
    #[must_use]
    pub fn add<T>(self, _label: impl fmt::Display, _histogram: Histogram<T>) -> Self {
        self
    }
}
