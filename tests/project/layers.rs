//! Which room may import which, as the crate's documentation says; read from the syntax tree, so that no spelling of
//! a path escapes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

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

/// Collects what one file names outside its own module.
struct Names {
    /// The module that is being read: `["deploy", "fetch"]`.
    module: Vec<String>,
    /// The rooms that are named.
    rooms: BTreeSet<String>,
    /// Paths of other crates, as written; and whether outside of tests.
    others: BTreeSet<(String, bool)>,
    /// Whether what is being read is compiled for tests only.
    in_test: bool,
    /// What is refused whatever it names: the crate's root, another file's text.
    escapes: Vec<String>,
}

impl Names {
    /// Resolves a path that begins with `crate`, `self` or `super`.
    fn path(&mut self, path: &[String]) {
        let mut module = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            Some(_) => {
                self.others.insert((path.join("::"), !self.in_test));
                return;
            }
            None => return,
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(module.pop()),
                name => module.push(name.to_owned()),
            }
        }
        match module.first().map(String::as_str) {
            // Whoever has the root under another name has every room.
            None | Some("*") => self
                .escapes
                .push(format!("{} is the crate's root", path.join("::"))),
            Some(room) => drop(self.rooms.insert(room.to_owned())),
        }
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
            syn::UseTree::Name(name) => self.path(&with(name.ident.to_string())),
            syn::UseTree::Rename(name) => self.path(&with(name.ident.to_string())),
            // `use super::*` in a test module takes its own file; the root's would be every room.
            syn::UseTree::Glob(_) => self.path(&with("*".to_owned())),
        }
    }

    /// Paths in the tokens of a macro, also in nested groups.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    let begun = std::mem::take(&mut path);
                    if colons == 2 && !begun.is_empty() {
                        self.group(&begun, group.stream());
                    } else {
                        path = begun;
                        self.end(&mut path);
                        self.tokens(group.stream());
                    }
                    colons = 0;
                }
                TokenTree::Literal(text) => {
                    self.end(&mut path);
                    colons = 0;
                    self.text(&text.to_string());
                }
                TokenTree::Punct(_) => {
                    self.end(&mut path);
                    colons = 0;
                }
            }
        }
        self.end(&mut path);
    }

    /// `use crate::{a, b}` inside a macro.
    fn group(&mut self, before: &[String], tokens: TokenStream) {
        for token in tokens {
            if let TokenTree::Ident(name) = token {
                let path: Vec<String> = before.iter().cloned().chain([name.to_string()]).collect();
                self.path(&path);
            }
        }
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.path(&path);
        }
    }

    fn unsafe_code(&mut self, what: &str) {
        if !outside::is_gate(&self.module[0]) {
            self.escapes.push(format!("{what} outside host and git"));
        }
    }

    /// Attributes such as serde's take paths as text.
    fn text(&mut self, text: &str) {
        let text = text.trim_matches('"');
        if (text.starts_with("crate::") || text.starts_with("super::"))
            && let Ok(path) = syn::parse_str::<syn::Path>(text)
        {
            self.visit_path(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let around = self.in_test;
        self.in_test |= is_for_tests(item);
        visit::visit_item(self, item);
        self.in_test = around;
    }
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        } else if item.attrs.iter().any(|attr| attr.path().is_ident("path")) {
            self.escapes
                .push(format!("mod {} has another file's text", item.ident));
        } else if is_test_file(&[item.ident.to_string()]) && !self.in_test {
            self.escapes
                .push(format!("mod {} is not behind #[cfg(test)]", item.ident));
        }
    }
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let before = self.others.clone();
        self.tree(&[], &item.tree);
        if outside::is_gate(&self.module[0]) && !matches!(item.vis, syn::Visibility::Inherited) {
            let reexported = self.others.difference(&before);
            let given = reexported.filter(|(path, _)| outside::is_guarded(path));
            let given = given.filter(|(path, shipped)| *shipped && path != "git2::Oid");
            self.escapes
                .extend(given.map(|(path, _)| format!("gives every room {path}")));
        }
    }
    // Either is a system call away.
    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.unsafe_code("an extern block");
        visit::visit_item_foreign_mod(self, item);
    }
    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.unsafe_code("an unsafe block");
        visit::visit_expr_unsafe(self, item);
    }
    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.escapes.push(format!("extern crate {}", item.ident));
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 || names.first().is_some_and(|name| name == "crate") {
            self.path(&names);
        }
        visit::visit_path(self, path);
    }
    // `pub(crate)` and `pub(in …)` name no more than the module itself or one around it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if item
            .path
            .segments
            .last()
            .is_some_and(|name| name.ident == "include")
        {
            self.escapes
                .push("include! has another file's text".to_owned());
        }
        self.tokens(item.tokens.clone());
    }
    fn visit_attribute(&mut self, item: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &item.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// Whether an item is behind `#[cfg(test)]`.
fn is_for_tests(item: &syn::Item) -> bool {
    let attrs = match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attrs.iter().any(|attr| {
        let test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        attr.path().is_ident("cfg") && attr.meta.require_list().is_ok_and(test)
    })
}

/// Whether a file is compiled for tests only, by its name; `mod` items of such files are behind `#[cfg(test)]`.
fn is_test_file(module: &[String]) -> bool {
    (module.iter()).any(|part| ["tests", "testing", "fuzz"].contains(&part.as_str()))
}

fn names(module: &[String], text: &str) -> Result<Names> {
    let mut names = Names {
        module: module.to_vec(),
        rooms: BTreeSet::new(),
        others: BTreeSet::new(),
        in_test: is_test_file(module),
        escapes: Vec::new(),
    };
    names.visit_file(&syn::parse_file(text)?);
    Ok(names)
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
