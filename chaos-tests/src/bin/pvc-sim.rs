//! `pvc-sim`: plays one seed, or many of them, each in a process of its own.
//!
//! A process of its own, because even tokio draws numbers that no seed reaches (in which order those who
//! wait for the same thing wake up): from the operating system, and from a counter of the process. Here the
//! operating system's answers follow from the seed too.

use std::ffi::{c_uint, c_void};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use pvc_chaos_tests::command::{Sim, carry_out};

/// What is left of chance.
static CHANCE: AtomicU64 = AtomicU64::new(0);

/// Stands before the C library's function of this name, of which the standard library and others ask for
/// random bytes.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: whoever calls `getrandom` gives a buffer of this length to be written to.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for byte in bytes {
        // splitmix64 (Steele, Lea, Flood 2014).
        let state = CHANCE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = (z >> 56) as u8;
    }
    length as isize
}

fn main() -> ExitCode {
    let sim = Sim::parse();
    CHANCE.store(sim.seed().unwrap_or(0), Ordering::Relaxed);
    // A thread of its own has drawn nothing yet, and has room for the deep futures of a debug build.
    let playing = std::thread::Builder::new().stack_size(64 << 20).spawn(move || carry_out(&sim));
    match playing.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(error))) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}
