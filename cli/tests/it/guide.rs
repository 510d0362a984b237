//! docs/cli.md tells what there is: its tables are the program's own.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Command;

const BEGIN: &str = "<!-- commands: begin -->\n";
const END: &str = "<!-- commands: end -->";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md")
}

fn guide() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// A row for each command below this one: its words, what it is done to, what it does.
fn rows(command: &Command, words: &str, text: &mut String) {
    if command.has_subcommands() {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            rows(below, &format!("{words} {}", below.get_name()), text);
        }
        return;
    }
    let mut usage = words.to_owned();
    for argument in command.get_positionals() {
        let name = argument.get_value_names().map_or(argument.get_id().as_str(), |names| names[0].as_str());
        let several = if argument.get_num_args().is_some_and(|n| n.max_values() > 1) { "…" } else { "" };
        let name = format!("{}{several}", name.to_uppercase());
        let shown = if argument.is_required_set() { format!(" {name}") } else { format!(" [{name}]") };
        usage.push_str(&shown);
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "| `{usage}` | {} |", about.replace('|', "\\|")).unwrap();
}

fn all_commands() -> String {
    let mut command = pvc_cli::command();
    command.build();
    let mut text = "| command | |\n| --- | --- |\n".to_owned();
    rows(&command, "pvc", &mut text);
    text
}

#[test]
fn the_guide_has_every_command() {
    let guide = guide();
    let (before, rest) = guide.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let fresh = format!("{before}{BEGIN}{}{END}{after}", all_commands());
    if guide != fresh && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(), &fresh).unwrap();
        return;
    }
    assert!(
        guide == fresh,
        "docs/cli.md is not what pvc is; make it so by: UPDATE_DOCS=1 cargo test -p pvc-cli guide"
    );
}

#[test]
fn the_guide_has_every_exit_code() {
    let help = pvc_cli::command().get_after_help().unwrap().to_string();
    let guide = guide();
    let codes: Vec<_> = help.lines().skip(1).filter_map(|line| line.trim().split_once("  ")).collect();
    assert_eq!(codes.len(), 10);
    for (code, meaning) in codes {
        let row = format!("| {code} | {meaning} |");
        assert!(guide.contains(&row), "docs/cli.md lacks: {row}");
    }
}
