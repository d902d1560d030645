//! Files of the repository that are made from the program, committed, and checked by a test.

use std::path::Path;

use crate::commands::doctor;
use crate::exit::{self, Code};
use crate::ui::error::Failure;
use crate::ui::findings;
use crate::{args, env};

/// Where the README's troubleshooting stands.
const START: &str = "<!-- made by `layerwise generate` from crates/layerwise-cli/src/commands/doctor.rs -->\n";
const END: &str = "<!-- end -->\n";

/// The README with what is made in it made anew.
fn readme(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{START}{}{END}{after}", doctor::troubleshooting()))
}

/// Their paths and texts.
fn files() -> Vec<(String, String)> {
    let terraform = layerwise_terraform::documentation();
    let terraform = terraform.into_iter().map(|(path, text)| (format!("docs/terraform/{path}"), text));
    let own = [
        ("docs/cli.md", command_reference()),
        ("docs/environment.md", env::documentation()),
        ("docs/exit-codes.md", exit::documentation()),
        ("docs/findings.md", findings::documentation()),
        ("docs/machine.md", doctor::documentation()),
        ("schema/layerwise.schema.json", layerwise::config::schema()),
    ];
    own.into_iter().map(|(path, text)| (path.to_owned(), text)).chain(terraform).collect()
}

/// Writes them below `root`.
pub(crate) fn run(root: &Path) -> Result<Code, Failure> {
    for (path, text) in files() {
        let path = root.join(path);
        let dir = path.parent().unwrap_or(root);
        fs_err::create_dir_all(dir)
            .and_then(|()| fs_err::write(&path, text))
            .map_err(|error| Failure::system("failed to write the generated files", &error))?;
    }
    let path = root.join("README.md");
    let written = fs_err::read_to_string(&path).and_then(|text| match readme(&text) {
        Some(text) => fs_err::write(&path, text),
        None => Err(std::io::Error::other("README.md has no place for the troubleshooting")),
    });
    written.map_err(|error| Failure::system("failed to write the generated files", &error))?;
    Ok(Code::Success)
}

/// Every command's long help.
fn command_reference() -> String {
    let mut text = "# Command reference\n\n\
        Made by `layerwise generate` from `crates/layerwise-cli/src/args.rs`. See also \
        [environment variables](environment.md), [exit codes](exit-codes.md) and [JSON output](json.md).\n"
        .to_owned();
    let mut command = args::command().term_width(100).color(clap::ColorChoice::Never);
    command.build();
    describe(&mut command, &mut text);
    text
}

fn describe(command: &mut clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *text += &format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set()) {
        describe(child, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (path, text) in files() {
            let committed = fs_err::read_to_string(root.join(&path)).unwrap_or_default().replace("\r\n", "\n");
            assert!(committed == text, "{path} is not up to date: run `cargo run -- generate .`");
        }
        let committed = fs_err::read_to_string(root.join("README.md")).unwrap().replace("\r\n", "\n");
        let made = readme(&committed).expect("it has the place");
        assert!(committed == made, "README.md is not up to date: run `cargo run -- generate .`");
    }
}
