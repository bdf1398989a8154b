//! pullpray: continuous delivery for servers that nobody may dial in to.
//!
//! `pullpray init` makes a fresh Linux server ready for a Django application and checks every part
//! of it. From then on cron runs `pullpray poll`: one cheap question to the git host, and when the
//! answer is new, a release is built, switched to, restarted, asked for its health, and taken back
//! if it is ill. The scripts that this replaces called it "pull and pray", because nothing was
//! checked; here everything is.
//!
//! # Two pictures
//!
//! ```text
//! answers ──parse──► App ──► steps(App) ──► walk ──► findings ──► lines, exit code
//! (wizard, flags, file)        one list
//!
//! lock ─► tip ─► gate ─► fetch ─► gate ─► release ─► deploy script ─► flip ─► restart ─► health ─► record, prune
//!                                                                        └──── unhealthy: flip back, restart, health ────┘
//! ```
//!
//! # Who may use whom
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`app`] | pure: answers become an [`app::App`]; names, paths, the settings file | nothing of ours |
//! | [`render`] | pure: an app becomes text | `app` |
//! | [`server`] | the server: files, commands, accounts, units, git, ssh, locks, clock | `app` |
//! | [`record`] | receipt and ledger | `app`, `server` |
//! | [`step`] | one fact about the server a file; one list, several walks | `app`, `render`, `record`, `server` |
//! | [`poll`] | the pipeline | `app`, `render`, `record`, `server` |
//! | [`ui`] | asking and telling | nothing of ours |
//! | [`command`] | one file a verb | everything |
//!
//! `tests/project/layers.rs` holds it, and `.clippy.toml` bans starting programs and writing files
//! outside `server`. Deciding is separate from doing ([`poll::gate`] is a pure function), parsing
//! from reading, and checking cannot change anything: a check gets a [`server::View`], which has
//! no writing methods.
//!
//! # Decisions and their reasons
//!
//! - **Releases, not `git pull` in place.** Half-updated code is never served, and going back is a
//!   rename. What must outlive a release is linked from shared/; a listed file that is missing
//!   stops the deployment, an empty one is never invented.
//! - **Socket activation and restart.** Of the ways to restart gunicorn under systemd that were
//!   measured under load, it is the only one that loses no request: systemd holds the socket.
//!   HUP onto code that does not import kills everything and ends with 0; USR2 under systemd dies.
//! - **Health is asked over HTTP.** gunicorn reports READY before its workers have imported the
//!   app, so systemctl's exit code says nothing.
//! - **The app can use the deploy key and cannot read it.** An agent runs as the app's account,
//!   root hands it the key ([`server::hand_over_key`]), and inside the unit's sandbox the app
//!   reaches neither the agent nor its own code.
//! - **The system's ssh, not libssh2.** Aliases, known_hosts, agents, jump hosts and company
//!   proxies work as the administrator knows them ([`server::git`]).
//! - **The no-change question is asked in protocol v2 with one ref-prefix.** libgit2 speaks only
//!   v0, whose answer grows with the repository's references.
//! - **`users` is the crate `uzers`**, the maintained continuation of the abandoned `users`
//!   (RUSTSEC-2023-0040, RUSTSEC-2023-0059), under its old name.
//! - **What is refused is no failure.** A rewritten history, a missing signature, an hour outside the
//!   window use up no try; they are remembered in the ledger, told once, and looked at anew as soon as
//!   anything changes that decided them ([`poll::gate`] says what comes first).
//! - **Signatures are ssh's alone**, judged against OpenSSH's own list of allowed signers: the keys that
//!   people have, without a keyring to keep on the server.
//! - **Virtual environments are keyed** by what decides their content and live beside the
//!   releases: unchanged dependencies cost nothing, and going back finds its own.
//! - **Static files are published after the flip.** collectstatic writes into the release; once it
//!   is live its files are linked, each in one rename, to where the web server looks. Files of
//!   earlier releases stay, so pages served a moment ago still find what they name.
//! - **Nothing of the app's is executed as root.** A poll gives up root before it opens the first
//!   file of the app's; what init does as root in the app's directories it does by descriptor.
//! - **The receipt is the only authority for taking things away**, and it is written before each
//!   change. What was there before is adopted, said so, and stays.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests build their own servers in temporary directories"
    )
)]

pub mod app;
pub mod cli;
mod command;
mod decide;
mod deploy;
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
