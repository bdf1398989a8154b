//! What reaches outside the process, and which rooms may name it: files, sockets, programs, system calls and libgit2
//! are for `host` and `git` only.

/// Beginnings of paths that only `host` and `git` may name.
const GUARDED: &[&str] = &[
    "git2",
    "libc",
    "libgit2_sys",
    "nix",
    "signal_hook",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "users",
    "uzers",
];

/// Exceptions for every room (`*`) or for one.
const ALLOWED: &[(&str, &str)] = &[
    ("*", "std::net::Ipv6Addr"),
    ("*", "std::net::SocketAddr"),
    ("*", "std::process::ExitCode"),
    // The terminal: its mode, waiting for a key, and signals that were ignored at the start.
    ("ui", "nix::errno::Errno"),
    ("ui", "nix::poll"),
    ("ui", "nix::sys::pthread"),
    ("ui", "nix::sys::signal::Signal"),
    ("ui", "nix::sys::termios"),
    ("ui", "signal_hook::consts"),
    ("ui", "signal_hook::flag"),
    ("ui", "std::fs::read_to_string"),
    ("ui", "std::os::fd::AsFd"),
];

/// What makes a room impure besides that.
const IMPURE: &[&str] = &["std::env", "std::time::Instant", "std::time::SystemTime"];

/// Whether a path is `start` or below it.
fn below(path: &str, start: &str) -> bool {
    (path.strip_prefix(start)).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a path names one of these, or a module that has it: `use std::os::unix;` is as good as `std::os::unix::fs`.
fn names_any(path: &str, starts: &[&str]) -> bool {
    let path = (path.strip_suffix("::self"))
        .or(path.strip_suffix("::*"))
        .unwrap_or(path);
    (starts.iter()).any(|start| below(path, start) || below(start, path))
}

/// Whether a room is one of the two that reach outside.
pub fn is_gate(room: &str) -> bool {
    ["host", "git"].contains(&room)
}

/// Whether only `host` and `git` may name this path.
pub fn is_guarded(path: &str) -> bool {
    names_any(path, GUARDED)
}

/// Whether this room may not name this path.
pub fn is_refused(room: &str, path: &str) -> bool {
    let allowed = |(to, start): &(&str, &str)| (*to == "*" || *to == room) && below(path, start);
    !is_gate(room) && is_guarded(path) && !ALLOWED.iter().any(allowed)
}

/// Whether a pure room may not name this path, even in its tests.
pub fn is_impure(path: &str) -> bool {
    names_any(path, IMPURE) || is_refused("", path)
}
