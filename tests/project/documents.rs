//! The README is true: what it names exists, and its commands are the ones that run here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

fn read(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).context(path.to_owned())
}

fn commands() -> Result<Vec<String>> {
    let readme = read("README.md")?;
    let blocks = readme
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    Ok(blocks
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("# "))
        .map(str::to_owned)
        .collect())
}

#[test]
fn the_two_commands_are_there_and_can_be_run() -> Result<()> {
    let commands = commands()?;
    for script in ["tests/demo", "tests/run"] {
        assert!(
            commands.iter().any(|command| command == script),
            "the README does not give {script}"
        );
        let mode = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))?
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be run");
    }
    assert!(
        read(".ci/run")?.lines().any(|line| line == "tests/run"),
        "CI runs something other than the README says"
    );
    Ok(())
}

#[test]
fn every_flag_in_the_readme_exists() -> Result<()> {
    use clap::CommandFactory;
    let cli = pullpray::cli::Cli::command();
    let mut checked = 0;
    for command in commands()? {
        let Some(at) = command.find("pullpray ") else {
            continue;
        };
        let mut words = command[at..].split_whitespace().skip(1);
        let verb = words.next().unwrap_or_default();
        let Some(known) = cli.find_subcommand(verb) else {
            assert!(
                command.contains("cargo") || command.contains("cp "),
                "there is no verb {verb}: {command}"
            );
            continue;
        };
        for word in words.filter(|word| word.starts_with("--")) {
            checked += 1;
            let name = word.trim_start_matches("--");
            assert!(
                known.get_arguments().any(|a| a.get_long() == Some(name)),
                "pullpray {verb} has no {word}"
            );
        }
    }
    assert!(checked > 3, "only {checked} flags were found");
    Ok(())
}

#[test]
fn every_path_in_the_readme_is_the_program_s() -> Result<()> {
    let readme = read("README.md")?;
    let app = "APP";
    for path in [
        "/etc/pullpray/APP.toml",
        "/etc/pullpray/APP.env",
        "/opt/git_pollers/APP/deploy.sh",
        "/etc/sudoers.d/pullpray-APP",
        "/etc/cron.d/pullpray-APP",
        "/etc/ssh/ssh_config.d/pullpray-APP.conf",
        "/var/lib/pullpray/receipts/APP.jsonl",
    ] {
        assert!(readme.contains(path), "the README does not name {path}");
    }
    let name: pullpray::app::AppName = "todo".parse()?;
    assert_eq!(
        pullpray::app::paths::settings(&name)
            .display()
            .to_string()
            .replace("todo", app),
        "/etc/pullpray/APP.toml"
    );
    assert_eq!(
        pullpray::app::paths::receipt(&name)
            .display()
            .to_string()
            .replace("todo", app),
        "/var/lib/pullpray/receipts/APP.jsonl"
    );
    Ok(())
}

#[test]
fn the_changelog_keeps_its_form() -> Result<()> {
    let text = read("CHANGELOG.md")?;
    assert!(text.starts_with("# Changelog\n") && text.contains("## [Unreleased]"));
    Ok(())
}
