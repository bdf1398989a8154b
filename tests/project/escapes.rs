//! clippy refuses every way to start a program, open a socket or write a file: each is compiled in a crate of its own
//! with this project's `.clippy.toml` and its versions of nix and git2.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::layers::root;

/// Each method that `.clippy.toml` names, with the types that name one instance of it.
const METHODS: &[(&str, &str)] = &[
    ("std::process::Command::new", "<&str>"),
    ("nix::unistd::daemon", ""),
    ("nix::unistd::execv", "<&CStr>"),
    ("nix::unistd::execve", "<&CStr, &CStr>"),
    ("nix::unistd::execveat", "<Fd, &CStr, &CStr>"),
    ("nix::unistd::execvp", "<&CStr>"),
    ("nix::unistd::execvpe", "<&CStr, &CStr>"),
    ("nix::unistd::fexecve", "<Fd, &CStr, &CStr>"),
    ("nix::unistd::fork", ""),
    ("std::net::TcpListener::bind", "<&str>"),
    ("std::net::TcpStream::connect", "<&str>"),
    ("std::net::TcpStream::connect_timeout", ""),
    ("std::net::UdpSocket::bind", "<&str>"),
    ("std::os::unix::net::UnixDatagram::bind", "<&str>"),
    ("std::os::unix::net::UnixDatagram::bind_addr", ""),
    ("std::os::unix::net::UnixDatagram::pair", ""),
    ("std::os::unix::net::UnixDatagram::unbound", ""),
    ("std::os::unix::net::UnixListener::bind", "<&str>"),
    ("std::os::unix::net::UnixListener::bind_addr", ""),
    ("std::os::unix::net::UnixStream::connect", "<&str>"),
    ("std::os::unix::net::UnixStream::connect_addr", ""),
    ("std::os::unix::net::UnixStream::pair", ""),
    ("nix::sys::socket::bind", ""),
    ("nix::sys::socket::connect", ""),
    ("nix::sys::socket::listen", "<Fd>"),
    ("nix::sys::socket::sendmsg", "<()>"),
    (
        "nix::sys::socket::sendmmsg",
        "<Vec<&Slices>, Vec<Option<()>>, Vec<nix::sys::socket::ControlMessage>, Slices, ()>",
    ),
    ("nix::sys::socket::sendto", ""),
    ("nix::sys::socket::socket", "<None>"),
    ("nix::sys::socket::socketpair", "<None>"),
    ("std::fs::DirBuilder::new", ""),
    ("std::fs::File::create", "<&str>"),
    ("std::fs::File::create_new", "<&str>"),
    ("std::fs::File::options", ""),
    ("std::fs::File::set_len", ""),
    ("std::fs::File::set_modified", ""),
    ("std::fs::File::set_permissions", ""),
    ("std::fs::File::set_times", ""),
    ("std::fs::OpenOptions::new", ""),
    ("std::fs::copy", "<&str, &str>"),
    ("std::fs::create_dir", "<&str>"),
    ("std::fs::create_dir_all", "<&str>"),
    ("std::fs::hard_link", "<&str, &str>"),
    ("std::fs::remove_dir", "<&str>"),
    ("std::fs::remove_dir_all", "<&str>"),
    ("std::fs::remove_file", "<&str>"),
    ("std::fs::rename", "<&str, &str>"),
    ("std::fs::set_permissions", "<&str>"),
    ("std::fs::soft_link", "<&str, &str>"),
    ("std::fs::write", "<&str, &str>"),
    ("std::os::unix::fs::chown", "<&str>"),
    ("std::os::unix::fs::chroot", "<&str>"),
    ("std::os::unix::fs::fchown", "<Fd>"),
    ("std::os::unix::fs::lchown", "<&str>"),
    ("std::os::unix::fs::symlink", "<&str, &str>"),
    ("std::env::set_current_dir", "<&str>"),
    ("nix::dir::Dir::open", "<str>"),
    ("nix::dir::Dir::openat", "<Fd, str>"),
    ("nix::fcntl::fallocate", "<Fd>"),
    ("nix::fcntl::fcntl", "<Fd>"),
    ("nix::fcntl::open", "<str>"),
    ("nix::fcntl::openat", "<str, Fd>"),
    ("nix::fcntl::openat2", "<str, Fd>"),
    ("nix::fcntl::posix_fallocate", "<Fd>"),
    ("nix::fcntl::renameat", "<str, str, Fd, Fd>"),
    ("nix::fcntl::renameat2", "<str, str, Fd, Fd>"),
    ("nix::sys::memfd::memfd_create", "<str>"),
    ("nix::sys::mman::shm_open", "<str>"),
    ("nix::sys::mman::shm_unlink", "<str>"),
    ("nix::sys::stat::fchmod", "<Fd>"),
    ("nix::sys::stat::fchmodat", "<Fd, str>"),
    ("nix::sys::stat::futimens", "<Fd>"),
    ("nix::sys::stat::lutimes", "<str>"),
    ("nix::sys::stat::mkdirat", "<Fd, str>"),
    ("nix::sys::stat::mknod", "<str>"),
    ("nix::sys::stat::mknodat", "<Fd, str>"),
    ("nix::sys::stat::umask", ""),
    ("nix::sys::stat::utimensat", "<Fd, str>"),
    ("nix::sys::stat::utimes", "<str>"),
    ("nix::sys::uio::pwrite", "<Fd>"),
    ("nix::sys::uio::pwritev", "<Fd>"),
    ("nix::sys::uio::writev", "<Fd>"),
    ("nix::unistd::chdir", "<str>"),
    ("nix::unistd::chown", "<str>"),
    ("nix::unistd::chroot", "<str>"),
    ("nix::unistd::fchdir", "<Fd>"),
    ("nix::unistd::fchown", "<Fd>"),
    ("nix::unistd::fchownat", "<Fd, str>"),
    ("nix::unistd::ftruncate", "<Fd>"),
    ("nix::unistd::linkat", "<Fd, Fd, str, str>"),
    ("nix::unistd::mkdir", "<str>"),
    ("nix::unistd::mkdtemp", "<str>"),
    ("nix::unistd::mkfifo", "<str>"),
    ("nix::unistd::mkfifoat", "<Fd, str>"),
    ("nix::unistd::mkstemp", "<str>"),
    ("nix::unistd::pivot_root", "<str, str>"),
    ("nix::unistd::sethostname", "<&str>"),
    ("nix::unistd::symlinkat", "<Fd, str, str>"),
    ("nix::unistd::truncate", "<str>"),
    ("nix::unistd::unlink", "<str>"),
    ("nix::unistd::unlinkat", "<Fd, str>"),
    ("nix::unistd::write", "<Fd>"),
    ("git2::Config::open", ""),
    ("git2::Config::open_default", ""),
    ("git2::Index::open", ""),
    ("git2::Index::open_ext", ""),
    ("git2::Indexer::new", ""),
    ("git2::Indexer::new_ext", ""),
    ("git2::Odb::new", ""),
    ("git2::Odb::new_ext", ""),
    ("git2::Remote::create_detached", "<&str>"),
    ("git2::Repository::clone", "<&str>"),
    ("git2::Repository::clone_recurse", "<&str>"),
    ("git2::Repository::discover", "<&str>"),
    ("git2::Repository::init", "<&str>"),
    ("git2::Repository::init_bare", "<&str>"),
    ("git2::Repository::init_opts", "<&str>"),
    ("git2::Repository::open", "<&str>"),
    ("git2::Repository::open_bare", "<&str>"),
    ("git2::Repository::open_ext", "<&str, &str, Vec<&str>>"),
    ("git2::Repository::open_from_env", ""),
    ("git2::Repository::open_from_worktree", ""),
    ("git2::build::RepoBuilder::clone", ""),
    ("git2::build::RepoBuilder::new", ""),
];

/// Statements as somebody would write them, and what each has to be refused for.
const STATEMENTS: &[(&str, &str)] = &[
    ("std::fs::write", "use std::fs as f; f::write(\"x\", \"\")"),
    (
        "std::fs::write",
        "[\"x\"].map(|path| std::fs::write(path, \"\"))",
    ),
    (
        "std::fs::File::set_len",
        "std::fs::File::open(\"x\").unwrap().set_len(0)",
    ),
    (
        "std::fs::File::options",
        "std::fs::File::options().append(true).open(\"x\")",
    ),
    (
        "std::net::ToSocketAddrs::to_socket_addrs",
        "use std::net::ToSocketAddrs; \"host:1\".to_socket_addrs()",
    ),
    (
        "nix::fcntl::open",
        "nix::fcntl::open(\"x\", nix::fcntl::OFlag::O_CREAT, nix::sys::stat::Mode::empty())",
    ),
    (
        "git2::Repository::init",
        "use git2::*; Repository::init(\"x\")",
    ),
    ("std::process::Command", "None::<std::process::Command>"),
    ("std::fs::DirBuilder", "None::<std::fs::DirBuilder>"),
    ("std::fs::OpenOptions", "None::<std::fs::OpenOptions>"),
    ("std::net::TcpListener", "None::<std::net::TcpListener>"),
    ("std::net::TcpStream", "None::<std::net::TcpStream>"),
    ("std::net::UdpSocket", "None::<std::net::UdpSocket>"),
    (
        "std::os::unix::net::UnixDatagram",
        "None::<std::os::unix::net::UnixDatagram>",
    ),
    (
        "std::os::unix::net::UnixListener",
        "None::<std::os::unix::net::UnixListener>",
    ),
    (
        "std::os::unix::net::UnixStream",
        "None::<std::os::unix::net::UnixStream>",
    ),
    ("git2::Indexer", "None::<git2::Indexer>"),
    ("git2::Odb", "None::<git2::Odb>"),
    ("git2::Remote", "None::<git2::Remote>"),
    ("git2::Repository", "None::<git2::Repository>"),
    (
        "git2::build::RepoBuilder",
        "None::<git2::build::RepoBuilder>",
    ),
];

/// Reading files and what touches nothing is not refused.
const ALLOWED: &[&str] = &[
    "std::fs::read(\"x\")",
    "std::fs::File::open(\"x\").unwrap().metadata()",
    "std::net::SocketAddr::from(([127, 0, 0, 1], 80))",
    "nix::unistd::getpid()",
    "git2::Oid::from_str(\"1\")",
];

const HEAD: &str = "#![allow(unused)] use std::{ffi::CStr, os::fd::OwnedFd as Fd}; type None = Option<nix::sys::socket::SockProtocol>; type Slices = [std::io::IoSlice<'static>; 1];\n";

/// The paths that `.clippy.toml` refuses.
fn refused() -> Result<BTreeSet<String>> {
    let config: toml::Table = toml::from_str(&fs::read_to_string(root().join(".clippy.toml"))?)?;
    let lists = ["disallowed-methods", "disallowed-types"].map(|list| config[list].as_array());
    let entries = lists.into_iter().flatten().flatten();
    let paths = entries.filter_map(|entry| Some(entry.get("path")?.as_str()?.to_owned()));
    Ok(paths.collect())
}

/// What clippy refuses: the line of the crate's file, and the message.
fn lint(statements: &[String]) -> Result<Vec<(usize, String)>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("escapes");
    fs::create_dir_all(dir.join("src"))?;
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(root().join("Cargo.toml"))?)?;
    let mut own: toml::Table = toml::from_str(
        "workspace = {}\npackage = { name = \"escapes\", version = \"0.0.0\", edition = \"2024\" }\nprofile = { dev = { debug = false } }\n",
    )?;
    let used =
        ["git2", "nix"].map(|name| (name.to_owned(), manifest["dependencies"][name].clone()));
    own.insert(
        "dependencies".to_owned(),
        toml::Table::from_iter(used).into(),
    );
    fs::write(dir.join("Cargo.toml"), toml::to_string(&own)?)?;
    fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock"))?;
    let lines = statements.iter().enumerate();
    let lines =
        lines.map(|(n, statement)| format!("pub fn f{n}() {{ let _ = {{ {statement} }}; }}\n"));
    fs::write(
        dir.join("src/lib.rs"),
        HEAD.to_owned() + &lines.collect::<String>(),
    )?;
    let output = Command::new(env!("CARGO"))
        .args([
            "clippy",
            "--quiet",
            "--message-format=json",
            "--",
            "-D",
            "clippy::disallowed_methods",
            "-D",
            "clippy::disallowed_types",
        ])
        .current_dir(&dir)
        .env("CLIPPY_CONF_DIR", root())
        // The same directory as this build's: libgit2 is compiled already.
        .env("CARGO_TARGET_DIR", dir.join("../.."))
        .output()?;
    let mut found = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message = &serde_json::from_str::<Value>(line)?["message"];
        if message["level"] != "error" || message["spans"] == Value::Array(Vec::new()) {
            continue;
        }
        let rule = message["code"]["code"].as_str().unwrap_or_default();
        ensure!(
            rule.starts_with("clippy::disallowed_"),
            "{}",
            message["rendered"]
        );
        let line = message["spans"][0]["line_start"]
            .as_u64()
            .context("a line")?;
        found.push((usize::try_from(line)?, message["message"].to_string()));
    }
    ensure!(
        !found.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(found)
}

#[test]
fn clippy_refuses_each_way_to_reach_outside() -> Result<()> {
    let methods = METHODS.iter().map(|(path, types)| {
        let types = if types.is_empty() {
            String::new()
        } else {
            format!("::{types}")
        };
        (*path, format!("{path}{types}"))
    });
    let statements = STATEMENTS
        .iter()
        .map(|(path, statement)| (*path, (*statement).to_owned()));
    let escapes: Vec<(&str, String)> = methods.chain(statements).collect();
    let known: BTreeSet<String> = escapes.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(
        known,
        refused()?,
        "each path of .clippy.toml is tried, and no other"
    );

    let mut lines: Vec<String> = escapes.iter().map(|(_, line)| line.clone()).collect();
    lines.extend(ALLOWED.iter().map(|&line| line.to_owned()));
    let found = lint(&lines)?;
    for (n, (path, statement)) in escapes.iter().enumerate() {
        let named = |(line, message): &(usize, String)| {
            *line == n + 2 && message.contains(&format!("`{path}`"))
        };
        assert!(found.iter().any(named), "{statement} escapes");
    }
    let more: Vec<_> = found
        .iter()
        .filter(|(line, _)| *line >= escapes.len() + 2)
        .collect();
    assert!(more.is_empty(), "{more:?}");
    Ok(())
}
