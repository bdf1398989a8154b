//! The command line. Its doc comments are the help texts and the manual pages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

use crate::app::{Answers, AppName, ProcessName, SharedPath, Wsgi};

/// Continuous delivery for servers with no inbound access
#[derive(Debug, Parser)]
#[command(
    name = "pullpray",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// The command to run
    #[command(subcommand)]
    pub verb: Verb,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set up an app on this server, and verify every step
    #[command(
        after_long_help = "Exit codes: 0 done, or nothing to change · 1 a step failed · 2 usage error, or missing answers · 3 waiting for access to the repository, or its host could not be reached: run it again after adding the key · 130 interrupted: run it again to continue\n\nEvery answer can also be given as an environment variable (PULLPRAY_REPO for --repo) or as a key of the answers file (repo = \"…\"). Precedence: flag, environment variable, answers file, saved settings."
    )]
    Init(Box<Init>),
    /// Check the git host once and deploy a new commit; cron runs this
    #[command(
        after_long_help = "Exit codes: 0 up to date, deployed, paused, outside the deploy window, or another poll is running · 1 the deployment failed and the previous release is live; or the new commit was refused, which is reported once · 2 usage or settings error · 3 could not reach the git host · 4 the deployment failed and the previous release could not be restored · With --all, the most severe result of any app: 4, then 2, 1, 3, 0\n\nPrints nothing when there is nothing to do."
    )]
    Poll(Poll),
    /// Show what is live, what happened, and what the next poll will do
    #[command(
        after_long_help = "Exit codes: 0 shown · 1 the settings or the ledger of an app cannot be read, which is reported in its place; the other apps are shown; with --check also: somebody has to act · 2 usage error"
    )]
    Status(Status),
    /// Roll back to the previous release and pause deployments
    #[command(
        after_long_help = "Exit codes: 0 the release is live · 1 there is no release to roll back to, or it failed its health check and the release that was live was restored · 2 usage error · 4 it failed its health check and the release that was live could not be restored\n\nThe commit that was live is not deployed again by itself, also not after resume; only new commits are, or after retry. A second rollback goes further back."
    )]
    Rollback {
        /// The app
        app: AppName,
        /// The release, by name or by the first digits of its commit [default: the previous one]
        release: Option<String>,
    },
    /// Rebuild and redeploy the live commit, for example after its files were lost or damaged
    #[command(
        after_long_help = "Exit codes: 0 the release is live · 1 it failed and the release that was live still answers; or nothing is live · 2 usage error · 4 it failed and the release that was live does not answer\n\nNew commits are left to the polls, and paused deployments stay paused. The git host is contacted only if the commit is no longer on this server."
    )]
    Redeploy {
        /// The app
        app: AppName,
    },
    /// Print the state of all apps as metrics, in Prometheus' text format
    #[command(
        after_long_help = "Exit codes: 0 printed · 1 the state of an app cannot be read; the others are printed · 2 usage error"
    )]
    Metrics,
    /// Show where failures are reported, and test it
    #[command(
        after_long_help = "Exit codes: 0 shown, or sent to all · 1 a test message could not be sent · 2 usage error, or nobody is notified"
    )]
    Notify {
        /// The app
        app: AppName,
        /// Send a test message to each address
        #[arg(long)]
        test: bool,
    },
    /// Restart the app, for example after a change of its environment, without letting a request wait
    #[command(
        after_long_help = "Exit codes: 0 it is healthy · 1 it is not, with what it wrote; if that showed in the second instance, the first one was not touched; or nothing is live · 2 usage error"
    )]
    Restart {
        /// The app
        app: AppName,
    },
    /// Run a command as the app: in the live release, with its environment, account and sandbox
    #[command(
        after_long_help = "Exit codes: that of the command · 1 it could not be started, or nothing is live · 2 usage error\n\nFor example: sudo pullpray run todo -- python manage.py createsuperuser\n\nA terminal is the command's own, and a pipe goes through: sudo pullpray run todo -- python manage.py dumpdata >data.json"
    )]
    Run {
        /// The app
        app: AppName,
        /// The command and its arguments; python is that of the release
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "COMMAND"
        )]
        words: Vec<OsString>,
    },
    /// Show what the app wrote to the journal, or the log of its last deployment
    #[command(
        after_long_help = "Exit codes: 0 shown · 1 there is no such log · 2 usage error, or this login may not read it"
    )]
    Logs {
        /// The app
        app: AppName,
        /// Go on with what it writes, until Ctrl-C
        #[arg(long, short)]
        follow: bool,
        /// Only this process of the Procfile, or web
        #[arg(long, value_name = "NAME")]
        process: Option<String>,
        /// The log of the last deployment instead
        #[arg(long, conflicts_with_all = ["follow", "process"])]
        deploy: bool,
        /// How many lines
        #[arg(long, short = 'n', default_value_t = 200)]
        lines: u32,
    },
    /// Change the app's environment: its secrets and other variables
    #[command(
        after_long_help = "Exit codes: 0 changed, or nothing to change · 1 it could not be changed · 2 usage error · 130 interrupted; nothing was changed\n\nThe file is checked as systemd reads it before it takes the place of the old one, which is kept until the next change. A value never stands on the command line: it is asked for, or read from standard input: sudo pullpray env todo set SECRET_KEY <file"
    )]
    Env {
        /// The app
        app: AppName,
        /// What to do
        #[command(subcommand)]
        verb: EnvVerb,
    },
    /// Pause deployments; polls keep checking
    Pause {
        /// The app
        app: AppName,
        /// The reason, shown by status
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Resume deployments
    Resume {
        /// The app
        app: AppName,
    },
    /// Reset the attempts of failed and rolled back commits; the next poll tries them again
    Retry {
        /// The app
        app: AppName,
    },
    /// Check that the server is still set up correctly; changes nothing unless --fix is given
    #[command(
        after_long_help = "Exit codes: 0 every check passed · 1 a check failed · 2 usage error · 3 a check could not be run"
    )]
    Doctor(Doctor),
    /// Remove an app from this server: everything init created, from its record
    #[command(
        after_long_help = "Exit codes: 0 done · 1 something could not be removed · 2 usage error"
    )]
    Remove(Remove),
    /// Show the public deploy key, or rotate the key
    #[command(
        after_long_help = "Exit codes: 0 shown, or rotated · 1 failed; one of the two keys is in use · 2 usage error · 3 waiting for the next key to be added on the git host: run it again after adding it · 130 interrupted: run it again to continue"
    )]
    Key(Key),
    /// Print a shell completion script
    #[command(
        after_long_help = "Exit codes: 0 printed · 2 usage error\n\nTo install them, for bash: pullpray completions bash | sudo install -D -m 644 /dev/stdin /usr/local/share/bash-completion/completions/pullpray"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages: one for pullpray and one for each command
    #[command(
        after_long_help = "Exit codes: 0 written · 1 could not be written · 2 usage error\n\nTo install them: sudo pullpray man /usr/local/share/man/man1"
    )]
    Man {
        /// The directory to write to; created if it does not exist
        dir: PathBuf,
    },
    /// Load the deploy key into the agent; its unit runs this
    #[command(hide = true)]
    LoadKey {
        /// The app
        app: AppName,
    },
    /// Connect through the proxy of the settings, for ssh, which runs this
    #[command(hide = true)]
    Tunnel {
        /// The host to connect to
        host: String,
        /// Its port
        port: u16,
        /// The app with the settings
        #[arg(long)]
        app: Option<AppName>,
    },
    /// Run a process of the release's Procfile; its unit runs this
    #[command(hide = true)]
    Exec {
        /// The app
        app: AppName,
        /// The process
        #[arg(required_unless_present_any = ["words", "web"])]
        process: Option<ProcessName>,
        /// Web instead, with this callable unless the Procfile says which
        #[arg(long, value_name = "WSGI")]
        web: Option<Wsgi>,
        /// The socket of web; without it, systemd's
        #[arg(long, requires = "web")]
        listen: Option<PathBuf>,
        /// Its workers, unless the Procfile's line says how many
        #[arg(long, requires = "web", default_value_t = 1)]
        workers: u16,
        /// This instance is one beside the service: it has no other number of workers
        #[arg(long, requires = "web")]
        beside: bool,
        /// A command instead
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Fetch the repository and print what was found in it; init runs this
    #[command(hide = true)]
    Inspect {
        /// The app
        app: AppName,
        /// Create this shared file instead, empty
        #[arg(long)]
        start_empty: Option<SharedPath>,
    },
}

/// The verbs of `env`.
#[derive(Debug, Subcommand)]
pub enum EnvVerb {
    /// Edit the file in your editor
    Edit,
    /// Set one variable; its value is asked for, or read from standard input
    Set {
        /// The variable
        name: String,
    },
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The app to continue or change; the same as --app
    #[arg(value_name = "APP")]
    pub name: Option<AppName>,
    /// The answers given as flags
    #[command(flatten)]
    pub answers: Answers,
    /// Read answers from a TOML file
    #[arg(long = "answers", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Do not prompt: use defaults for missing answers, and proceed
    #[arg(long, short)]
    pub yes: bool,
    /// How long to wait for the key to be added: 30s, 10m, or 0 [default: no limit at a terminal, otherwise 0]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Show what would change, with a diff of every file, and change nothing; exit code 1 if anything would change, 0 if not, 3 if root is needed to find out
    #[arg(long)]
    pub dry_run: bool,
    /// Overwrite files that were modified locally; keeps a backup
    #[arg(long)]
    pub overwrite: bool,
    /// Deploy a project whose settings have DEBUG = True, which shows visitors code and settings
    #[arg(long)]
    pub allow_debug: bool,
}

/// Arguments of `poll`.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").required(true).args(["app", "all"])))]
pub struct Poll {
    /// The app
    pub app: Option<AppName>,
    /// Every app on this server, eight at a time; a failure in one app does not stop the others
    #[arg(long)]
    pub all: bool,
    /// Print each stage as it starts
    #[arg(long, short)]
    pub verbose: bool,
    /// Ignore the retry delay of a failed commit and the deploy window
    #[arg(long)]
    pub now: bool,
    /// Wait so many seconds first; cron's entry spreads the polls of many apps and servers
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide = true, value_parser = clap::value_parser!(u64).range(..3600))]
    pub splay: u64,
}

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The apps [default: all on this server]
    #[arg(value_name = "APP")]
    pub apps: Vec<AppName>,
    /// Run only this check; can be repeated
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// List the checks without running them
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Skip checks that contact the git host
    #[arg(long)]
    pub offline: bool,
    /// Treat warnings as failures
    #[arg(long)]
    pub strict: bool,
    /// Fix failed checks, after confirmation
    #[arg(long)]
    pub fix: bool,
    /// Fix without confirmation
    #[arg(long, short, requires = "fix")]
    pub yes: bool,
    /// Overwrite files that were modified locally; keeps a backup
    #[arg(long, requires = "fix")]
    pub overwrite: bool,
}

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The apps [default: all on this server]
    #[arg(value_name = "APP")]
    pub apps: Vec<AppName>,
    /// Exit with 1 if somebody has to act: a deployment failed, a commit is refused, polls have stopped
    #[arg(long)]
    pub check: bool,
    /// Show past deployments too
    #[arg(long)]
    pub history: bool,
    /// Print JSON; while the git host cannot be reached, `outage.kind` says why
    ///
    /// host_key, permission, too_many_keys, no_repository, name_resolution, connection_refused, no_route, disconnected,
    /// timed_out, proxy_down, proxy_slow, proxy_password, proxy_refuses, too_much, no_space, no_reference, not_a_commit, moved, unreadable, protocol, invalid or other;
    /// `outage.words` quotes ssh or the host.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The app
    pub app: AppName,
    /// Remove without confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Remove the app's data too: shared/, and files that were modified locally
    #[arg(long)]
    pub purge: bool,
}

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
pub struct Key {
    /// The app
    pub app: AppName,
    /// Create a new key, wait for it to be added on the git host, and replace the old one
    #[arg(long)]
    pub rotate: bool,
    /// How long to wait for the new key to be added: 30s, 10m, or 0 [default: no limit at a terminal, otherwise 0]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "rotate")]
    pub wait: Option<Duration>,
}

/// A shell with completion support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash; needs the package bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Parses `90s`, `10m`, `1h` or `0`.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "for example 30s, 10m or 0".to_owned())
}

#[test]
fn the_command_line_is_valid() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}
