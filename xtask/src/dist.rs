//! Man pages and shell completions of every program, made from the very command lines that the programs parse.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::aot::{Shell, generate_to};
use clap_mangen::Man;

/// Programs for everybody, and for administrators of a host.
const USERS: &str = "1";
const ADMINISTRATORS: &str = "8";

fn programs() -> [(Command, &'static str); 4] {
    [
        (pvc_cli::command(), USERS),
        (pvc_node::args::Args::command(), ADMINISTRATORS),
        (pvc_gateway::config::Args::command(), ADMINISTRATORS),
        (pvc_bootstrap::cli::Args::command(), ADMINISTRATORS),
    ]
}

/// `man/*.1`, `man/*.8`, and a folder of completions for each shell.
pub fn write(dist: &Path) -> Result<()> {
    let folder = |name: &str| {
        let path = dist.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        anyhow::Ok(path)
    };
    let mut pages = 0;
    for (command, section) in programs() {
        // Before the tree is built: a page for each `help` word would say nothing.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        pages += man(command.clone(), section, &folder("man")?)?;
        let name = command.get_name().to_owned();
        for (shell, place) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            generate_to(shell, &mut command, &name, folder(place)?)?;
        }
    }
    println!("dist: {pages} man pages, and completions for three shells, in {}", dist.display());
    Ok(())
}

/// A page for the command and for each below it; how many.
fn man(command: Command, section: &str, folder: &Path) -> Result<usize> {
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()).cloned() {
        pages += man(below, section, folder)?;
    }
    Man::new(command).section(section).manual("PVC").generate_to(folder)?;
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_pages_and_completions() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        let text = |file: &str| fs::read_to_string(folder.path().join(file)).expect(file);
        let migrate = text("man/pvc-vm-migrate.1");
        assert!(migrate.contains("Move a VM away for a while"), "{migrate}");
        assert!(text("man/pvc.1").contains("Exit codes"));
        assert!(text("man/pvc-bootstrap-local-up.8").contains("Bring a cluster up"));
        assert!(text("man/pvcd.8").contains("Stopping it touches no guest"));
        assert!(text("man/pvc-api.8").contains("PVC_API_LISTEN"));
        for program in ["pvc", "pvcd", "pvc-api", "pvc-bootstrap"] {
            assert!(text(&format!("bash/{program}.bash")).contains("COMPREPLY"));
            assert!(text(&format!("zsh/_{program}")).starts_with("#compdef"));
            assert!(text(&format!("fish/{program}.fish")).contains(&format!("complete -c {program}")));
        }
    }
}
