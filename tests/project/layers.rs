//! Which room may import which, as the crate's documentation says; read from the syntax tree, so that no spelling of
//! a path escapes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use syn::visit::{self, Visit};

use crate::names::names;
use crate::outside;

/// The rooms in their order: each may import the rooms above it. A pure one imports pure ones only, and nothing of
/// the standard library or of crates that reaches outside the process.
const ROOMS: &[(&str, bool)] = &[
    ("exit", true),
    ("text", true),
    ("error", true),
    ("app", true),
    ("layout", true),
    ("render", true),
    ("state", true),
    ("decide", true),
    ("report", true),
    ("host", false),
    ("git", false),
    ("signing", false),
    ("store", false),
    ("deploy", false),
    ("provision", false),
    ("ui", false),
    ("cli", true),
    ("command", false),
];

/// Why a room may not import another; `None` if it may.
fn refused(from: &str, to: &str) -> Option<String> {
    let place = |name: &str| ROOMS.iter().position(|(room, _)| *room == name);
    let (Some(at), Some(target)) = (place(from), place(to)) else {
        return Some(format!("{to} is no room"));
    };
    if from == to {
        None
    } else if target > at {
        Some(format!("{to} comes after {from}"))
    } else if ROOMS[at].1 && !ROOMS[target].1 {
        Some(format!("{from} is pure and {to} is not"))
    } else if from == "provision" && to == "deploy" {
        Some("deploy and provision never import each other".to_owned())
    } else if to == "ui" && from != "command" {
        Some("only command imports ui".to_owned())
    } else if from == "ui" && to != "text" {
        Some("ui imports text only".to_owned())
    } else {
        None
    }
}

/// What is refused of a file of that module.
fn complaints(module: &[String], text: &str) -> Result<(Vec<String>, BTreeSet<String>)> {
    let names = names(module, text)?;
    let room = module.first().map_or("", String::as_str);
    let mut complaints = names.escapes;
    complaints.extend(names.rooms.iter().filter_map(|to| refused(room, to)));
    let pure = ROOMS.iter().any(|(name, pure)| *name == room && *pure);
    let reached = (names.others.iter()).filter(|(path, shipped)| {
        pure && outside::is_impure(path) || *shipped && outside::is_refused(room, path)
    });
    complaints.extend(reached.map(|(path, _)| format!("{room} may not use {path}")));
    Ok((complaints, names.rooms))
}

pub fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        found.extend(sources(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `src/deploy/fetch.rs` is `deploy::fetch`, and so is `src/deploy/fetch/mod.rs`.
fn module(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|name| name == "mod") {
        parts.pop();
    }
    parts
}

#[test]
#[expect(clippy::print_stdout, reason = "the graph, with --nocapture")]
fn a_room_imports_only_rooms_above_it() -> Result<()> {
    let src = root().join("src");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for file in sources(&src)? {
        let relative = file.strip_prefix(&src)?;
        let module = module(relative);
        if relative.extension().is_none_or(|e| e != "rs")
            || ["lib", "main"].contains(&module[0].as_str())
        {
            continue;
        }
        let known = ROOMS.iter().any(|(room, _)| *room == module[0]);
        ensure!(known, "{} is in no room of the list", relative.display());
        let (complaints, rooms) = complaints(&module, &fs::read_to_string(&file)?)
            .with_context(|| relative.display().to_string())?;
        all.extend(
            complaints
                .iter()
                .map(|why| format!("{}: {why}", relative.display())),
        );
        graph.entry(module[0].clone()).or_default().extend(rooms);
    }
    for (room, pure) in ROOMS {
        let imports = graph
            .get_mut(*room)
            .with_context(|| format!("no file in {room}"))?;
        imports.remove(*room);
        let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
        println!(
            "{room:<10}{} {}",
            if *pure { "pure" } else { "    " },
            imports.join(" ")
        );
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

#[test]
fn no_spelling_escapes() -> Result<()> {
    for text in [
        "use crate::{app::{self, App}, ui};",
        "use crate::{app::App, provision::{list, engine}};",
        "use super::super::ui;",
        "use super::super::{ui as screen};",
        "use self::super::super::provision as other;",
        "use crate as c; fn f() { c::ui::open(true) }",
        "use crate::{self as c};",
        "use super::super as root;",
        "use crate::*;",
        "extern crate self as me;",
        "fn f() -> crate::ui::Mark { crate :: ui :: open() }",
        "fn f() { super::super::ui::open(true) }",
        "fn f() { <crate::ui::Terminal as Clone>::clone() }",
        "fn f() { println!(\"{}\", crate::ui::open(true)) }",
        "m! { use crate::{app, ui}; }",
        "m! { (super::super::ui::open(true)) }",
        "mod inner { use super::super::super::ui; }",
        "#[derive(A)] struct S { #[serde(with = \"crate::ui::x\")] a: u8 }",
        "include!(\"../ui/mod.rs\");",
        "#[path = \"../ui/mod.rs\"] mod other;",
        "use std::fs;",
        "use std::{fmt, fs as f};",
        "use std::os::unix;",
        "use std as s;",
        "use std::os::*;",
        "use ::nix;",
        "use std::process::{self, ExitCode};",
        "fn f() { ::std::fs::read(\"x\") }",
        "fn f() { assert!(std::net::TcpStream::connect(\"x:1\").is_ok()) }",
        "fn f(x: git2::Oid) {}",
        "m! { use std::fs::{self, File}; }",
        "mod tests;",
        "fn f() { #[expect(unsafe_code)] unsafe { open() } }",
        "unsafe extern \"C\" { fn open(); }",
        "#[cfg(not(test))] mod inner { use std::fs; }",
    ] {
        let module = ["deploy".to_owned(), "fetch".to_owned()];
        let (complaints, _) = complaints(&module, text)?;
        assert!(!complaints.is_empty(), "{text} escapes");
    }
    for text in [
        "use crate::app::{App, Limits}; use super::build::Staged; use std::io::Read;",
        "fn f() { crate::host::end(); super::build::x(); self::y() } mod inner { use super::*; use super::super::build; }",
        "use std::process::ExitCode; use std::net::SocketAddr; fn f() { a::b!(std::io::stdin()) }",
        "#[cfg(test)] mod tests { use std::fs; fn f() { std::process::Command::new(\"x\") } }",
        "#[cfg(test)] mod fuzz;",
    ] {
        let module = ["deploy".to_owned(), "fetch".to_owned()];
        let (complaints, _) = complaints(&module, text)?;
        assert!(complaints.is_empty(), "{text}: {complaints:?}");
    }
    for text in [
        "fn f() { std::fs::read(\"x\") }",
        "use std::{fs as f, fmt};",
        "use crate::host::View;",
    ] {
        let (complaints, _) = complaints(&["decide".to_owned()], text)?;
        assert!(!complaints.is_empty(), "{text} is not pure");
    }
    for text in ["pub use nix::fcntl;", "pub(crate) use std::{fmt, fs};"] {
        let (complaints, _) = complaints(&["git".to_owned()], text)?;
        assert!(!complaints.is_empty(), "{text} gives away");
    }
    let (complaints, _) = complaints(&["git".to_owned()], "pub use git2::Oid; use std::fs;")?;
    assert!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}

/// The functions that call `Ledger::persist`, outside of tests.
#[derive(Default)]
struct Persisting {
    function: String,
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Persisting {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(|attr| attr.path().is_ident("cfg")) {
            visit::visit_item_mod(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function = item.sig.ident.to_string();
        visit::visit_impl_item_fn(self, item);
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function = item.sig.ident.to_string();
        visit::visit_item_fn(self, item);
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "persist" {
            self.found.push(self.function.clone());
        }
        visit::visit_expr_method_call(self, call);
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.last().is_some_and(|it| it.ident == "persist") {
            self.found.push(self.function.clone());
        }
        visit::visit_path(self, path);
    }
}

#[test]
fn only_a_session_stores_the_ledger() -> Result<()> {
    let src = root().join("src");
    let mut all = Vec::new();
    for file in sources(&src)? {
        let name = file.strip_prefix(&src)?.to_owned();
        let is_test = name.iter().any(|part| part == "tests")
            || ["tests.rs", "fuzz.rs"]
                .iter()
                .any(|test| name.ends_with(test));
        if is_test || name.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let mut persisting = Persisting::default();
        persisting.visit_file(&syn::parse_file(&fs::read_to_string(&file)?)?);
        all.extend(persisting.found.into_iter().map(|f| (name.clone(), f)));
    }
    assert_eq!(
        all,
        [(PathBuf::from("deploy/session.rs"), "store".to_owned())]
    );
    Ok(())
}
