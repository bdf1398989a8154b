//! pullpray: continuous delivery for servers with no inbound access.
//!
//! `pullpray init` prepares a Linux server for a Django application and verifies each step. From then on cron, or a timer, runs
//! `pullpray poll`: one cheap question to the git host, and if there is a new commit, a release is built, tried,
//! activated and checked over HTTP; if it is unhealthy, the previous release is restored. The scripts that this
//! replaces called it "pull and pray", because nothing was checked; here everything is.
//!
//! # Two pictures
//!
//! ```text
//! answers ──parse──► App ──► steps(App) ──► check ──► findings ──► plan, apply, report, exit code
//! (wizard, flags, file)        one list
//!
//! lock ─► newest ─► decide ─► fetch ─► decide ─► build ─► try ─► activate ─► restart ─► health ─► record, prune
//!                                                  └────────┴─── unhealthy: restore the previous release ───┘
//! ```
//!
//! # The rooms
//!
//! | room | what it is | pure |
//! |---|---|---|
//! | `exit`, `text` | exit codes by their meaning; text made safe for a terminal, and abbreviated | yes |
//! | `error` | errors with hints and an exit code, to the place that shows them | yes |
//! | [`app`] | answers become an [`app::App`]; names, schedules, windows, the settings file | yes |
//! | [`layout`] | every path, unit name and reserved directory on the server | yes |
//! | `render` | an app becomes the text of a file (templates/) | yes |
//! | `state` | ledger and receipt: types, transitions, format | yes |
//! | `decide` | whether a commit is deployed now, and why not; when somebody hears of a failure | yes |
//! | `report` | what polls, status, metrics and notices say | yes |
//! | `host` | files, programs, accounts, units, sudo, HTTP, locks, the agent, messages to the world outside | |
//! | `git` | the git host and the local mirror, over the system's ssh | |
//! | `signing` | who signed a commit or tag, judged against lists of allowed signers and OpenPGP keyrings | |
//! | `store` | settings, ledger, receipt, notices and data marks, read and written | |
//! | `deploy` | the pipeline of a poll; `recover` after a killed poll, `keep_live` for a site that is down, `control` for people, `notices` | |
//! | `provision` | one fact about the server per file; one list; check, apply, undo | |
//! | `ui` | questions and progress on a terminal, or plain lines without one | |
//! | `cli`, `command` | the command line; one file per verb | |
//!
//! One rule: a room imports only rooms above it in this table; a pure room imports pure rooms only, and nothing that
//! reaches outside the process; `deploy` and `provision` never import each other; only `command` imports `ui`.
//! `tests/project/layers.rs` enforces it on the syntax tree and prints the graph. Nothing outside `host` and `git` can
//! start a program, open a socket or write a file: `tests/project/outside.rs` refuses the paths, `.clippy.toml` each
//! function, and `tests/project/escapes.rs` tries them all. Inside, every path and program is below one root; units,
//! HTTP, accounts and the git host are traits with small fakes (`host::testing`, `git::testing`); the clock is a value.
//! So crash, rollback and removal are tested in process, ended before each of their changes. Checking cannot change
//! anything: a check gets a `host::View`, which has no writing methods.
//!
//! # Decisions and their reasons
//!
//! - **Releases, not `git pull` in place.** Half-updated code is never served, and a rollback is a rename. What must
//!   outlive a release is linked from shared/; a listed file that is missing stops the deployment, an empty one is never
//!   created.
//! - **Socket activation and restart.** Of the ways to restart gunicorn under systemd that were measured under load, it
//!   is the only one that loses no request: systemd holds the socket. HUP onto code that does not import kills everything
//!   and exits with 0; USR2 under systemd dies.
//! - **Health is checked over HTTP.** gunicorn reports READY before its workers have imported the app, so systemctl's
//!   exit code proves nothing.
//! - **The app can use the deploy key and cannot read it.** An agent runs as the app's account, root loads the key into
//!   it, and inside the unit's sandbox the app reaches neither the agent nor its own code.
//! - **The system's ssh, not libssh2.** Aliases, known_hosts, agents, jump hosts and company proxies work as the
//!   administrator knows them.
//! - **The question "anything new?" is protocol v2 with one ref-prefix.** libgit2 speaks only v0, whose answer grows with
//!   the repository's references.
//! - **`users` is the crate `uzers`**, the maintained continuation of the abandoned `users` (RUSTSEC-2023-0040,
//!   RUSTSEC-2023-0059), under its old name.
//! - **A refusal is not a failure.** A rewritten history, a missing signature or a closed deploy window uses no attempt;
//!   the ledger remembers it, it is reported once, and it is evaluated again as soon as any of its inputs changes.
//! - **Virtual environments are keyed** by what determines their content and live beside the releases: unchanged
//!   dependencies cost nothing, and a rollback finds its own.
//! - **Static files are published after activation.** collectstatic writes into the release; once that is live its files
//!   are linked, each in one rename, to where the web server looks. Files of earlier releases stay, so that pages served
//!   a moment ago still find theirs.
//! - **Nothing of the app's is executed as root.** A poll gives up root before it opens the first file of the app's; what
//!   init does as root in the app's directories it does by descriptor.
//! - **The receipt is the only authority for removal**, and it is written before each change. What existed before is
//!   adopted, reported as such, and stays.
//!
//! # How to add …
//!
//! The compiler and the tests name what is missing; these are the places to begin.
//!
//! - **A step.** Its id in `provision/step_id.rs`, a file with a struct that implements `Check` (what is wrong, and the
//!   command that fixes it), and `Fix` if pullpray can fix it, through `Changes`, which writes the receipt first; a row in
//!   `provision/list.rs`. A change of a new kind is a variant of `state::receipt::Change`, which compiles only with its
//!   reversal in `provision/undo.rs`. A file is a row of `layout::ManagedFile` and a template. `provision/tests` kills
//!   init and removal before every change of the whole list, so a new step is in the matrix at once.
//! - **An answer.** A row in `app/answers.rs` (name, check, question, hint), its type in `app/`, its default in
//!   `app/resolve.rs`. Flags, variables, settings file, wizard and help derive from the row.
//! - **A verb.** A variant in `cli.rs` and one file in `command/` that returns an `Exit`; what it does belongs to
//!   `deploy` or `provision`, what it prints to `report`. The manual pages and completions derive from it.
//! - **A stage.** A function in `deploy/` that consumes what the stage before returned and borrows the session; its
//!   `Stage` in `state/history.rs`; its line in the pipeline in `deploy/mod.rs`. What it writes goes through
//!   `host::Server`, so `deploy/tests/killed.rs` kills it there as well.
//! - **Something outside** (a program, a connection). A method of `host::View` if it changes nothing, of `host::Server`
//!   if it does; programs are found below the server's root, where a test puts a script.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests build their own servers in temporary directories"
    )
)]

pub mod app;
pub mod cli;
mod command;
mod decide;
mod deploy;
mod error;
mod exit;
mod git;
mod host;
pub mod layout;
mod provision;
mod render;
mod report;
mod signing;
mod state;
mod store;
mod text;
mod ui;

pub use command::main;
