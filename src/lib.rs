//! pullpray: continuous delivery for servers that nobody may dial in to.
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests build their own servers in temporary directories"
    )
)]
pub mod app;
pub mod cli;
pub mod command;
pub mod exit;
pub mod poll;
pub mod record;
pub mod render;
pub mod server;
pub mod step;
pub mod ui;
