//! Tests of the project itself: layers, documents, command line. They need no server.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules of .clippy.toml are for the program, not for its tests"
)]

mod command_line;
mod completions_and_pages;
mod documents;
mod escapes;
mod files;
mod layers;
mod names;
mod no_servers;
mod outside;
mod words;
