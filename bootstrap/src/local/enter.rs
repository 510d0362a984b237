//! Running programs inside a local host.

use std::ffi::CString;
use std::io;

use super::processes::Process;

/// Arguments of `nsenter` that make a program a process of the host.
pub fn nsenter_args(init: &Process) -> Vec<String> {
    let mut args = vec!["--target".to_owned(), init.pid.to_string()];
    for namespace in ["--mount", "--uts", "--ipc", "--net", "--pid", "--"] {
        args.push(namespace.to_owned());
    }
    args
}

/// Becomes the program `command` inside the host, with this process's input, output and terminal. Returns only on failure.
pub fn become_inside(init: &Process, command: &[String]) -> io::Error {
    let words = ["nsenter".to_owned()].into_iter().chain(nsenter_args(init)).chain(command.iter().cloned());
    let words: Result<Vec<CString>, _> = words.map(CString::new).collect();
    let Ok(words) = words else {
        return io::ErrorKind::InvalidInput.into();
    };
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: a null-terminated list of NUL-terminated strings that live until the call has failed
    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
    io::Error::last_os_error()
}
