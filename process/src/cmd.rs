//! A command as a value: what to start, with which arguments, where. Building one does nothing.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// How many bytes a program may write to stdout, and as many to stderr, unless told otherwise.
pub const OUTPUT_BYTES_MAX_DEFAULT: usize = 4 << 20;

const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HIDDEN: &str = "…";

/// A program with its arguments. Shown (by `Display`, `Debug` and in errors) as one would type it, without its secrets.
#[derive(Clone)]
pub struct Cmd {
    pub(crate) program: OsString,
    pub(crate) args: Vec<Arg>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) stdin: Option<Stdin>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) output_bytes_max: usize,
    pub(crate) accepted_codes: Vec<i32>,
    place: Place,
}

#[derive(Clone)]
pub(crate) struct Arg {
    value: OsString,
    hidden: bool,
}

#[derive(Clone)]
pub(crate) struct Stdin {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hidden: bool,
}

/// In whose namespaces the program runs.
#[derive(Clone)]
enum Place {
    Here,
    Netns(String),
    /// Mount, UTS, PID and network namespaces of this process.
    NamespacesOf(u32),
}

impl Cmd {
    /// A program by name (looked up in `PATH`) or by path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: None,
            current_dir: None,
            output_bytes_max: OUTPUT_BYTES_MAX_DEFAULT,
            accepted_codes: vec![0],
            place: Place::Here,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(Arg { value: arg.as_ref().to_owned(), hidden: false });
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| Arg { value: arg.as_ref().to_owned(), hidden: false }));
        self
    }

    /// An argument that is shown nowhere (it is still visible in the host's process list: prefer stdin or a file).
    pub fn secret_arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(Arg { value: arg.as_ref().to_owned(), hidden: true });
        self
    }

    /// One more variable in the environment, which otherwise holds only `PATH`. Values are shown nowhere.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What the program reads from stdin; without it, stdin is empty.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Stdin { bytes: bytes.into(), hidden: false });
        self
    }

    /// The same for a secret: it does not go into recordings, and is cut out of errors.
    pub fn secret_stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Stdin { bytes: bytes.into(), hidden: true });
        self
    }

    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// How many bytes may come from stdout, and as many from stderr. One more and the program is killed.
    pub fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = bytes;
        self
    }

    /// The exit codes that are no failure, for programs that answer by them. Without this: 0 only.
    pub fn accept_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.accepted_codes = codes.into_iter().collect();
        self
    }

    /// Runs it in the network namespace of this name (`/run/netns/NAME`), and in the mount namespace we are in: unlike
    /// `ip netns exec`, so that network namespaces which the program makes are visible to all.
    pub fn in_netns(mut self, name: impl Into<String>) -> Self {
        self.place = Place::Netns(name.into());
        self
    }

    /// Runs it in the mount, UTS, PID and network namespaces of that process (of a host of the local cluster).
    pub fn in_namespaces_of(mut self, pid: u32) -> Self {
        self.place = Place::NamespacesOf(pid);
        self
    }

    /// The program's own name, for messages.
    pub(crate) fn program_name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// What is really executed: the program, or `nsenter` in front of it.
    pub(crate) fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = match &self.place {
            Place::Here => vec![],
            Place::Netns(name) => {
                vec!["nsenter".into(), format!("--net=/run/netns/{name}").into(), "--".into()]
            }
            Place::NamespacesOf(pid) => {
                let target = format!("--target={pid}");
                ["nsenter", &target, "--mount", "--uts", "--pid", "--net", "--"].map(OsString::from).to_vec()
            }
        };
        argv.push(self.program.clone());
        argv.extend(self.args.iter().map(|arg| arg.value.clone()));
        argv
    }

    /// The whole environment of the program.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        let mut env = vec![("PATH".into(), path)];
        env.extend(self.env.iter().cloned());
        env
    }

    /// Cuts every secret out of a text that the program wrote.
    pub(crate) fn redact(&self, mut text: String) -> String {
        let args =
            self.args.iter().filter(|arg| arg.hidden).map(|arg| arg.value.to_string_lossy().into_owned());
        let stdin = self.stdin.iter().filter(|stdin| stdin.hidden);
        let stdin = stdin.map(|stdin| String::from_utf8_lossy(&stdin.bytes).trim().to_owned());
        for secret in args.chain(stdin).filter(|secret| !secret.is_empty()) {
            text = text.replace(&secret, HIDDEN);
        }
        text
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Here => {}
            Place::Netns(name) => write!(f, "[{name}] ")?,
            Place::NamespacesOf(pid) => write!(f, "[pid {pid}] ")?,
        }
        f.write_str(&quoted(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            let shown = if arg.hidden { HIDDEN.to_owned() } else { quoted(&arg.value.to_string_lossy()) };
            write!(f, " {shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cmd(`{self}`)")
    }
}

/// As one would type it at a shell; for people to read, never for a shell to run.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+.,:/@%^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_one_would_type_it_without_secrets() {
        let cmd =
            Cmd::new("ipmitool").args(["-U", "admin", "-P"]).secret_arg("s3cret").arg("power off").arg("");
        assert_eq!(cmd.to_string(), "ipmitool -U admin -P … 'power off' ''");
        assert_eq!(Cmd::new("ip").arg("link").in_netns("hv1").to_string(), "[hv1] ip link");
        assert_eq!(Cmd::new("echo").arg("it's\nme").to_string(), "echo 'it'\\''s\\nme'");
    }

    #[test]
    fn enters_namespaces_by_nsenter() {
        let argv = |cmd: Cmd| cmd.argv().join(OsStr::new(" ")).into_string().unwrap();
        assert_eq!(
            argv(Cmd::new("ip").arg("link").in_netns("hv1")),
            "nsenter --net=/run/netns/hv1 -- ip link"
        );
        assert_eq!(
            argv(Cmd::new("ps").in_namespaces_of(42)),
            "nsenter --target=42 --mount --uts --pid --net -- ps"
        );
    }

    #[test]
    fn secrets_are_cut_out_of_what_the_program_says() {
        let cmd = Cmd::new("x").secret_arg("hunter2").secret_stdin("line-secret\n").arg("open");
        assert_eq!(cmd.redact("bad hunter2, line-secret, open".to_owned()), "bad …, …, open");
        assert_eq!(Cmd::new("x").secret_arg("").redact("ab".to_owned()), "ab");
    }
}
