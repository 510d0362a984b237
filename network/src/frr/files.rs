//! FRRouting's files: what it starts with.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_process::{Cmd, CmdError};

use super::render::MARK;
use crate::Site;

const FILE: &str = "frr.conf";
const DAEMONS: &str = "daemons";
/// Of what was there before ours.
const BEFORE: &str = "frr.conf.before-pvc";
const CHECKED_WITHIN: Duration = Duration::from_secs(20);
const MODE: u32 = 0o640;

/// The file as it is; empty: there is none.
pub(super) fn read(site: &Site) -> io::Result<String> {
    or_empty(fs::read_to_string(site.frr_dir.join(FILE)))
}

/// People's own settings, each file with its name in front.
pub(super) fn snippets(site: &Site) -> io::Result<String> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(&site.frr_snippets_dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let lines = fs::read_to_string(&path)?;
        text.push_str(&format!("!\n! From {}\n{}\n", path.display(), lines.trim_end()));
    }
    Ok(text)
}

/// Whether FRRouting understands it; a refusal is its own words.
pub(super) async fn check(site: &Site, text: &str) -> Result<(), String> {
    let path = site.run_dir.join("frr.conf.new");
    fs::create_dir_all(&site.run_dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| error.to_string())?;
    let checked = Cmd::new("vtysh").args(["-C", "-f"]).arg(&path).run(CHECKED_WITHIN).await;
    match checked {
        Ok(_) => Ok(()),
        Err(CmdError::Start { .. }) => {
            Err("there is no vtysh: install FRRouting (apt-get install frr)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Puts it in place at once, as FRRouting's own user has it. What was there and was not ours is kept beside it.
pub(super) fn write(site: &Site, text: &str) -> io::Result<()> {
    let old = read(site)?;
    if !old.is_empty() && !old.starts_with(MARK) {
        put(&site.frr_dir, BEFORE, &old)?;
    }
    put(&site.frr_dir, FILE, text)
}

/// Lets FRRouting's start script start the daemons that are needed. Answers whether that has changed.
pub(super) fn want_daemons(site: &Site) -> io::Result<bool> {
    let old = or_empty(fs::read_to_string(site.frr_dir.join(DAEMONS)))?;
    if old.is_empty() {
        return Ok(false);
    }
    let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
    for daemon in ["bgpd", "bfdd"] {
        let wanted = format!("{daemon}=yes");
        match lines.iter_mut().find(|line| line.trim_start().starts_with(&format!("{daemon}="))) {
            Some(line) => *line = wanted,
            None => lines.push(wanted),
        }
    }
    let new = lines.join("\n") + "\n";
    if new != old {
        put(&site.frr_dir, DAEMONS, &new)?;
    }
    Ok(new != old)
}

fn put(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let owner = fs::metadata(dir)?;
    let new = dir.join(format!(".{name}.pvc"));
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
    chown(&new, Some(owner.uid()), Some(owner.gid()))?;
    fs::rename(&new, dir.join(name))
}

fn or_empty(read: io::Result<String>) -> io::Result<String> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}
