//! What a file of src names outside its own module, read from the syntax tree, so that no spelling of a path escapes.

use std::collections::BTreeSet;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::outside;

/// Collects what one file names outside its own module.
pub struct Names {
    /// The module that is being read: `["deploy", "fetch"]`.
    module: Vec<String>,
    /// The rooms that are named.
    pub rooms: BTreeSet<String>,
    /// Paths of other crates, as written; and whether outside of tests.
    pub others: BTreeSet<(String, bool)>,
    /// Whether what is being read is compiled for tests only.
    in_test: bool,
    /// What is refused whatever it names: the crate's root, another file's text.
    pub escapes: Vec<String>,
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

/// Reads the text of the file of that module.
pub fn names(module: &[String], text: &str) -> Result<Names> {
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
