//! What must hold of the project itself: layers, documents, command line. Needs no server.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests are not the program: they start and write what they like"
)]

mod command_line;
mod completions_and_pages;
mod documents;
mod layers;
mod no_servers;
mod words;
