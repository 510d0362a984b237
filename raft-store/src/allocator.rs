//! How the process's allocator treats what is freed. For the programs that hold a store: to be called first in
//! `main`, before any thread is started.

/// Buffers that are larger than this are given back to the system when they are freed.
const GIVEN_BACK_BYTES: libc::c_int = 256 << 10;
/// Heaps that threads share. glibc's own choice is eight for each core, each with its own leftovers.
const ARENAS: libc::c_int = 2;

/// Makes glibc give freed memory back. By itself it learns from the first large buffer that is freed (the 8 MiB
/// with which log files are filled) to keep such buffers for good.
pub fn give_freed_memory_back() {
    // SAFETY: `mallopt` takes two numbers and has no other preconditions; an unknown parameter does nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIVEN_BACK_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}
