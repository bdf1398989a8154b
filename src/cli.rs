//! The command line. The comments here are the help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::app::{Answers, AppName};

/// Continuous delivery for servers that nobody may dial in to
#[derive(Debug, Parser)]
#[command(
    name = "pullpray",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make this server ready for an app, and check every part of it
    #[command(
        after_long_help = "Exit codes: 0 done, or nothing to change · 1 a step failed · 2 usage, or answers are missing · 3 waiting for access to the repository: run it again once the key was added · 130 interrupted: run it again to go on\n\nEvery answer can also be given as a variable, PULLPRAY_REPO for --repo, or as a key of the file given with --answers, repo = \"…\". Of what is said twice, the flag counts, then the variable, then the file, then what the app's settings say already."
    )]
    Init(Box<Init>),
    /// Ask the git host once, and deploy what is new; cron runs this
    #[command(
        after_long_help = "Exit codes: 0 nothing new, deployed, held, outside the deploy window, or another poll is at work · 1 the deployment failed, the release before is live; or what is new is refused, which is told once · 2 usage or settings · 3 the git host could not be asked · 4 the deployment failed and the release before could not be brought back · With --all, the worst that came of any app: 4, then 2, 1, 3, 0\n\nPrints nothing when nothing happened."
    )]
    Poll(Poll),
    /// Tell what is live, what happened, and what the polls are about to do
    #[command(
        after_long_help = "Exit codes: 0 all is told · 1 the settings or the ledger of an app cannot be read, which is told in its place; what is to be told of the others is · 2 usage"
    )]
    Status(Status),
    /// Go back to the release before, and hold
    #[command(
        after_long_help = "Exit codes: 0 it is live · 1 there is nothing to go back to, or it was ill and what was live is live again · 2 usage · 4 it was ill and what was live could not be brought back"
    )]
    Rollback {
        /// The app
        app: AppName,
        /// The release, by its name or the first digits of its commit [default: the one before]
        release: Option<String>,
    },
    /// Deploy the live commit once more: built anew, where what it is served from was lost or broken
    #[command(
        after_long_help = "Exit codes: 0 it is live · 1 it failed, and what was live answers; or nothing is live · 2 usage · 4 it failed, and what was live does not answer\n\nWhat is new stays for the polls, and a hold stays too. The git host is asked only if the commit is not on this server any more."
    )]
    Redeploy {
        /// The app
        app: AppName,
    },
    /// Let polls look and not deploy
    Pause {
        /// The app
        app: AppName,
        /// Why, for whoever asks the status
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Let polls deploy again
    Resume {
        /// The app
        app: AppName,
    },
    /// Give commits that failed all their tries again, from the next poll on
    Retry {
        /// The app
        app: AppName,
    },
    /// Check that everything is still as it should be; changes nothing
    #[command(
        after_long_help = "Exit codes: 0 all holds · 1 something does not · 2 usage · 3 something could not be checked"
    )]
    Doctor(Doctor),
    /// Take an app off this server, by what init wrote down
    #[command(
        after_long_help = "Exit codes: 0 done · 1 something could not be taken away · 2 usage"
    )]
    Remove(Remove),
    /// Show the public half of the deploy key, or replace the key
    #[command(
        after_long_help = "Exit codes: 0 shown, or replaced · 1 failed; one of the two keys is in use · 2 usage · 3 waiting until the git host knows the next key: run it again once it was added · 130 interrupted: run it again to go on"
    )]
    Key(Key),
    /// Print the completions of a shell
    #[command(
        after_long_help = "Exit codes: 0 printed · 2 usage\n\nTo install them, for bash: pullpray completions bash | sudo install -D -m 644 /dev/stdin /usr/local/share/bash-completion/completions/pullpray"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages, one of pullpray and one of each verb
    #[command(
        after_long_help = "Exit codes: 0 written · 1 could not be written · 2 usage\n\nTo install them: sudo pullpray man /usr/local/share/man/man1"
    )]
    Man {
        /// Where to write them; the directory is made if it is missing
        dir: PathBuf,
    },
    /// Hand the deploy key to the agent; its unit runs this
    #[command(hide = true)]
    LoadKey {
        /// The app
        app: AppName,
    },
    /// Fetch and tell what the repository says of itself; init runs this
    #[command(hide = true)]
    Inspect {
        /// The app
        app: AppName,
    },
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The app, to go on with or to change; the same as --app
    #[arg(value_name = "APP")]
    pub name: Option<AppName>,
    /// What the app is to be
    #[command(flatten)]
    pub answers: Answers,
    /// Take answers from a TOML file
    #[arg(long = "answers", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Ask nothing: take defaults for what was not said, and go ahead
    #[arg(long, short)]
    pub yes: bool,
    /// How long to wait for the key to be accepted: 30s, 10m, 0 to not wait [default: without end at a terminal, else 0]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Show what would be done, every file as a diff, and change nothing; exit code 1 if anything would be, 0 if not, 3 if that could not be told without root
    #[arg(long)]
    pub dry_run: bool,
    /// Replace files that somebody changed by what pullpray would write; a backup is kept
    #[arg(long)]
    pub overwrite: bool,
}

/// Arguments of `poll`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").required(true).args(["app", "all"])))]
pub struct Poll {
    /// The app
    pub app: Option<AppName>,
    /// Every app of this server, one after another; what befalls one does not keep the others
    #[arg(long)]
    pub all: bool,
    /// Tell the stages as they happen
    #[arg(long, short)]
    pub verbose: bool,
    /// Do not wait: not for the next try of a commit that failed, nor for the deploy window
    #[arg(long)]
    pub now: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The apps; all of this server if none is named
    #[arg(value_name = "APP")]
    pub apps: Vec<AppName>,
    /// Only this check; can be given several times
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Name the checks, and do none
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Ask no git host
    #[arg(long)]
    pub offline: bool,
    /// Count what is only to be looked at as failed
    #[arg(long)]
    pub strict: bool,
    /// Mend what fails, after asking
    #[arg(long)]
    pub fix: bool,
    /// Mend without asking
    #[arg(long, short, requires = "fix")]
    pub yes: bool,
    /// Replace files that somebody changed by what pullpray would write; a backup is kept
    #[arg(long, requires = "fix")]
    pub overwrite: bool,
}

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The apps; all of this server if none is named
    #[arg(value_name = "APP")]
    pub apps: Vec<AppName>,
    /// Tell past deployments too
    #[arg(long)]
    pub history: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The app
    pub app: AppName,
    /// Take away without asking
    #[arg(long, short)]
    pub yes: bool,
    /// Take the app's own data away too: shared/, and files that somebody changed
    #[arg(long)]
    pub purge: bool,
}

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
pub struct Key {
    /// The app
    pub app: AppName,
    /// Make another key, wait until the git host knows it, and put it in the old one's place
    #[arg(long)]
    pub rotate: bool,
    /// How long to wait for the next key to be accepted: 30s, 10m, 0 to not wait [default: without end at a terminal, else 0]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "rotate")]
    pub wait: Option<Duration>,
}

/// A shell whose completions can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash, with the package bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// The command line as it is told to people: without the verbs that only pullpray calls, which
/// neither completions nor manual pages are to name.
#[must_use]
pub fn told() -> clap::Command {
    let whole = Cli::command();
    let told = whole
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .cloned()
        .collect::<Vec<_>>();
    // clap cannot take a verb away: the same one is made again with fewer.
    clap::Command::new("pullpray")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .propagate_version(true)
        .subcommand_required(true)
        .subcommands(told)
}

/// Reads `90`, `90s`, `10m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let number: u64 = digits
        .parse()
        .map_err(|_| "for example 30s, 10m or 0".to_owned())?;
    let seconds = match unit {
        "" | "s" => number,
        "m" | "min" => number.saturating_mul(60),
        "h" => number.saturating_mul(3600),
        _ => return Err("for example 30s, 10m or 0".to_owned()),
    };
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        told().debug_assert();
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert!(duration("soon").is_err() && duration("").is_err() && duration("1d").is_err());
    }
}
