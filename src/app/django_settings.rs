//! What a Django project's settings say. They are read as text, never run: what a line computes or takes from the
//! environment stays unknown, and an unknown setting is not asked about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the text of a settings module and of those that it imports with `*` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DjangoSettings {
    /// Whether `DEBUG` is literally `True`.
    pub debug: bool,
    /// `ALLOWED_HOSTS`, if it is a list of literals.
    pub hosts: Option<Vec<String>>,
    /// The sqlite files inside the repository that `DATABASES` names.
    pub databases: Vec<PathBuf>,
}

/// Reads a settings module from the files of a repository; `None` if it is not there.
#[must_use]
pub fn read_settings(
    module: &str,
    file: &dyn Fn(&Path) -> Option<String>,
) -> Option<DjangoSettings> {
    let mut reader = Reader {
        file,
        directories: BTreeMap::new(),
        found: DjangoSettings::default(),
    };
    reader.module(module, 0).then_some(reader.found)
}

struct Reader<'a> {
    file: &'a dyn Fn(&Path) -> Option<String>,
    /// The directories that have a name, such as `BASE_DIR`, relative to the repository.
    directories: BTreeMap<String, PathBuf>,
    found: DjangoSettings,
}

impl Reader<'_> {
    /// Reads a module's statements in their order; whether it was found.
    fn module(&mut self, module: &str, depth: u8) -> bool {
        let path = PathBuf::from(module.replace('.', "/"));
        let package = path.join("__init__.py");
        let (path, package, text) = match (self.file)(&path.with_extension("py")) {
            Some(text) => (path.with_extension("py"), false, text),
            None => match (self.file)(&package) {
                Some(text) => (package, true, text),
                None => return false,
            },
        };
        for statement in statements(&text) {
            if let Some(imported) = (statement.strip_prefix("from "))
                .and_then(|rest| rest.split_once(" import "))
                .and_then(|(from, names)| (names.trim() == "*").then(|| from.trim()))
            {
                if depth < 5
                    && let Some(imported) = absolute(module, package, imported)
                {
                    self.module(&imported, depth + 1);
                }
            } else {
                self.statement(&statement, &path);
            }
        }
        true
    }

    fn statement(&mut self, statement: &str, path: &Path) {
        let mentions = |name: &str| statement.contains(name);
        let (name, value) = statement.split_once('=').unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default().trim();
        match name {
            "DEBUG" => self.found.debug = value.trim() == "True",
            "ALLOWED_HOSTS" => self.found.hosts = literals(value),
            "DATABASES" => self.found.databases = self.databases(value, path),
            // In a condition, a function or a call.
            _ if mentions("ALLOWED_HOSTS") => self.found.hosts = None,
            _ if mentions("DATABASES") => self.found.databases.clear(),
            _ if mentions("DEBUG") && name.contains(' ') => self.found.debug = false,
            _ if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
                if let Some(directory) = self.path(value, path) {
                    self.directories.insert(name.to_owned(), directory);
                }
            }
            _ => {}
        }
    }

    fn databases(&self, value: &str, path: &Path) -> Vec<PathBuf> {
        let named = |entry: &str| {
            let (engine, rest) = entry.split_once("NAME")?;
            let value = rest
                .trim_start_matches(['"', '\'', ' '])
                .strip_prefix(':')?;
            let end = end_of(value);
            let sqlite = engine.contains("sqlite3") || engine.contains("spatialite");
            let literal = value[..end].trim().trim_matches(['"', '\'']);
            match self.path(&value[..end], path) {
                _ if !sqlite => None,
                None if literal.len() + 2 == value[..end].trim().len()
                    && !literal.is_empty()
                    && !literal.starts_with(['/', ':'])
                    && !literal.contains(['"', '\'', ':']) =>
                {
                    Some(PathBuf::from(literal))
                }
                path => path,
            }
        };
        let entries = value.split("ENGINE").skip(1);
        entries.filter_map(named).collect()
    }

    /// A path inside the repository: `Path(__file__).resolve().parent`, `os.path.join(BASE_DIR, "db.sqlite3")`.
    fn path(&self, value: &str, file: &Path) -> Option<PathBuf> {
        let mut pieces = value.split(['"', '\'']);
        let code = pieces.next().unwrap_or_default();
        let mut path = if value.contains("__file__") {
            file.to_owned()
        } else {
            let mut words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.find_map(|word| self.directories.get(word))?.clone()
        };
        let ups = code.matches(".parent").count() + code.matches("dirname(").count();
        let ups = ups
            + code
                .split("parents[")
                .skip(1)
                .filter_map(|rest| rest.split(']').next()?.trim().parse::<usize>().ok())
                .sum::<usize>();
        for _ in 0..ups {
            if !path.pop() {
                return None;
            }
        }
        while let (Some(literal), Some(between)) = (pieces.next(), pieces.next()) {
            let joins = between.chars().all(|c| " \n,/)".contains(c));
            if !joins || literal.starts_with('/') || literal.contains(['{', '}']) {
                return None;
            }
            path.push(literal);
        }
        // Not through a function or a variable that may lead anywhere.
        (!value.contains("env") && !value.contains("..")).then_some(path)
    }
}

/// The statements at the top level: an indented line, and one that closes a bracket, belongs to the one before it.
fn statements(text: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        match statements.last_mut() {
            Some(last) if line.starts_with([' ', '\t', ')', ']', '}']) => {
                last.push('\n');
                last.push_str(line);
            }
            _ if line.trim().is_empty() => {}
            _ => statements.push(line.to_owned()),
        }
    }
    statements
}

/// The module that a relative import names.
fn absolute(module: &str, package: bool, imported: &str) -> Option<String> {
    let name = imported.trim_start_matches('.');
    let dots = imported.len() - name.len();
    if dots == 0 {
        return Some(name.to_owned());
    }
    let parts: Vec<&str> = module.split('.').collect();
    let kept = (parts.len() + usize::from(package)).checked_sub(dots)?;
    let mut parts = parts[..kept].to_vec();
    parts.push(name);
    parts.retain(|part| !part.is_empty());
    Some(parts.join("."))
}

/// The strings of a list or tuple that holds nothing else.
fn literals(value: &str) -> Option<Vec<String>> {
    let inner = value.trim().strip_prefix(['[', '('])?;
    let inner = inner.strip_suffix([']', ')'])?;
    let pieces: Vec<&str> = inner.split(['"', '\'']).collect();
    let between = pieces.iter().step_by(2);
    let plain = between
        .copied()
        .all(|text| text.chars().all(|c| c == ',' || c.is_whitespace()));
    let found = pieces
        .iter()
        .skip(1)
        .step_by(2)
        .map(|&text| text.to_owned());
    (plain && pieces.len() % 2 == 1).then(|| found.collect())
}

/// Where the first value of a dictionary's entries ends.
fn end_of(value: &str) -> usize {
    let mut depth = 0_i32;
    let mut end = value.char_indices().filter(|&(_, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        depth < 0 || (depth == 0 && c == ',')
    });
    end.next().map_or(value.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = r#"
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = True
ALLOWED_HOSTS = ["www.example.org", '.example.net',]
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': BASE_DIR / 'db.sqlite3',
    }
}
LOGIN_URL = "/login"
"#;

    fn read(files: &[(&str, &str)], module: &str) -> Option<DjangoSettings> {
        read_settings(module, &|path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_stock_project_is_read() {
        let found = read(&[("todo/settings.py", STOCK)], "todo.settings");
        let hosts = ["www.example.org", ".example.net"].map(str::to_owned);
        let expected = DjangoSettings {
            debug: true,
            hosts: Some(hosts.to_vec()),
            databases: vec!["db.sqlite3".into()],
        };
        assert_eq!(found, Some(expected));
        assert_eq!(read(&[], "todo.settings"), None);
    }

    #[test]
    fn imports_are_followed_and_what_is_computed_stays_unknown() {
        // As `wagtail start` writes it.
        let base = "import os\nPROJECT_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\nBASE_DIR = os.path.dirname(PROJECT_DIR)\nDATABASES = {\n    \"default\": {\n        \"ENGINE\": \"django.db.backends.sqlite3\",\n        \"NAME\": os.path.join(BASE_DIR, \"db.sqlite3\"),\n    }\n}\n";
        let files = [
            ("site/settings/base.py", base),
            (
                "site/settings/dev.py",
                "from .base import *\n\nDEBUG = True\nALLOWED_HOSTS = [\"*\"]\n",
            ),
            (
                "site/settings/production.py",
                "from site.settings.base import *\nDEBUG = False\ntry:\n    from .local import *\nexcept ImportError:\n    pass\n",
            ),
            (
                "site/settings/__init__.py",
                "from .production import *  # comment\n",
            ),
        ];
        let dev = read(&files, "site.settings.dev").unwrap_or_default();
        assert!(dev.debug && dev.hosts == Some(vec!["*".to_owned()]));
        for module in ["site.settings.production", "site.settings"] {
            let found = read(&files, module).unwrap_or_default();
            assert!(!found.debug && found.hosts.is_none(), "{module}");
            assert_eq!(found.databases, [Path::new("db.sqlite3")], "{module}");
        }
        for (statement, expected) in [
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': Path(os.environ['X']) / 'a'}}",
                "",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / os.environ['X']}}",
                "",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': '/srv/a'}}",
                "",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}",
                "",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'todo'}}",
                "",
            ),
            ("DATABASES = {'default': env.db()}", ""),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x.db'}}",
                "x.db",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': str(BASE_DIR / 'var' / 'x.db')}}",
                "var/x.db",
            ),
            (
                "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x.db'}}\nif X:\n    DATABASES = {}",
                "",
            ),
        ] {
            let text = format!(
                "BASE_DIR = Path(__file__).resolve().parents[1]\n{statement}\nDEBUG = True\nDEBUG: bool = bool(X)\nALLOWED_HOSTS = ['a', host]\n"
            );
            let found = read(&[("todo/settings.py", &text)], "todo.settings").unwrap_or_default();
            let databases: Vec<String> = found
                .databases
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            assert_eq!(databases.join(","), expected, "{statement}");
            assert!(!found.debug && found.hosts.is_none());
        }
    }
}
