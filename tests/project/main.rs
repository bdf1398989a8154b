//! Tests of the project itself: layers, documents, command line. They need no server.

#![expect(
    clippy::disallowed_methods,
    reason = "the rules of .clippy.toml are for the program, not for its tests"
)]

mod command_line;
mod completions_and_pages;
mod documents;
mod layers;
mod no_servers;
mod words;
