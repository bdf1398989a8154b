//! The virtual environment that a release needs: keyed by the inputs of its content, so that unchanged dependencies
//! cost nothing and a rollback finds its own.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::app::App;
use crate::host::{Server, View};
use crate::state::sha256;

/// A link could point to /dev/zero, or to content that changes without changing the key.
const ORDINARY: &str =
    "dependencies must be listed in regular files (requirements.txt can include others: -r FILE)";

/// What a release depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// The file, empty if there is none.
    pub(super) file: &'static str,
    /// The environment's name under venvs/.
    pub(super) key: String,
    /// Whether the release's own code is installed there: then no other release can share it.
    pub(super) own: bool,
}

/// Finds the first dependency file: uv's lock (only uv can read it), requirements, pyproject.
pub(super) fn find(server: &Server, app: &App, release: &Path) -> Result<Dependencies> {
    let uv = server.which("uv").is_some();
    let python = server.python_version(app.python.as_path(), None)?;
    let exists = |name: &str| Ok::<_, anyhow::Error>(server.stat(&release.join(name))?.is_some());
    let read = |name: &str| {
        let content = server.read_untrusted_bytes(&release.join(name));
        content.map(Option::unwrap_or_default).context(ORDINARY)
    };
    let requirements = exists("requirements.txt")?;
    let file = if exists("uv.lock")? && (uv || !requirements) {
        "uv.lock"
    } else if requirements {
        "requirements.txt"
    } else if has_dependencies(&read("pyproject.toml")?) {
        "pyproject.toml"
    } else {
        ""
    };
    let mut inputs = format!("{file}\0{python}\0{}\0", app.python).into_bytes();
    let mut own = false;
    for path in relevant(server, release, file)? {
        let content = read(&path)?;
        own |= file == "requirements.txt" && installs_a_path(&content);
        for part in [path.as_bytes(), &content] {
            inputs.extend(part);
            inputs.push(0);
        }
    }
    let version: String = python.split('.').take(2).collect::<Vec<_>>().join(".");
    let digest = sha256(&inputs);
    let key = match file {
        "" => format!("py{version}-system-{}", digest.get(..8).unwrap_or(&digest)),
        _ => format!("py{version}-{}", digest.get(..16).unwrap_or(&digest)),
    };
    Ok(Dependencies { file, key, own })
}

/// Whether requirements name something by its path: `-e .`, `./lib`, `name @ file:lib`.
fn installs_a_path(requirements: &[u8]) -> bool {
    String::from_utf8_lossy(requirements).lines().any(|line| {
        let line = line.trim();
        let word = line.split([' ', ';', '[']).next().unwrap_or_default();
        let path = word == "." || word.contains('/') && !word.contains("://");
        ["-e", "--editable"].iter().any(|o| line.starts_with(o))
            || line.contains("file:") && !line.starts_with('#')
            || path && !word.starts_with(['-', '#'])
    })
}

/// The releases that an environment imports code from: by its path files (`*.pth`, `*.egg-link`, `__editable__*`), and
/// by where its packages came from (direct_url.json). That code is of another commit, and disappears with its release.
pub(super) fn imports_from(view: &View, app: &App, venv: &Path) -> Result<BTreeSet<String>> {
    let releases = app.releases();
    let followed = |path: &Path| view.link_target(path).ok().flatten();
    let resolved = followed(&releases);
    let mut found = BTreeSet::new();
    for python in view.list(&venv.join("lib"))? {
        let packages = venv.join("lib").join(python).join("site-packages");
        for name in view.list(&packages)? {
            let text = name.to_string_lossy();
            let path = packages.join(&name);
            let path = match text.rsplit_once('.') {
                Some((_, "dist-info")) => path.join("direct_url.json"),
                Some((_, "pth" | "egg-link")) => path,
                _ if text.starts_with("__editable__") => path,
                _ => continue,
            };
            // uv may install files as links to its cache.
            let path = followed(&path).unwrap_or(path);
            let content = view.read_untrusted_bytes(&path)?.unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            for dir in [Some(&releases), resolved.as_ref()].into_iter().flatten() {
                for rest in content.split(&format!("{}/", dir.display())).skip(1) {
                    let end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
                    found.insert(rest.split(end).next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    Ok(found)
}

/// Whether a file may determine which environment a release needs.
pub(super) fn may_determine_environment(path: &Path) -> bool {
    is_requirements(path) || matches!(path.to_str(), Some("uv.lock" | "pyproject.toml"))
}

/// Whether requirements are, or may be, in a file: by its name, or by its directory.
fn is_requirements(path: &Path) -> bool {
    let text = path.extension().is_some_and(|e| e == "txt" || e == "in");
    let name = path.to_string_lossy();
    let named = name.contains("requirement") || name.contains("constraint");
    match path.parent().and_then(Path::to_str) {
        Some("") => text && named,
        Some(parent) => text && parent == "requirements",
        None => false,
    }
}

/// The file and, for requirements, every file that it may include.
fn relevant(view: &View, release: &Path, file: &str) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::from_iter((!file.is_empty()).then(|| file.to_owned()));
    if file == "requirements.txt" {
        for dir in ["", "requirements"] {
            for name in view.list(&release.join(dir))? {
                let path = Path::new(dir).join(name);
                found.extend(
                    path.to_str()
                        .filter(|it| is_requirements(&path) && *it != file)
                        .map(str::to_owned),
                );
            }
        }
    }
    Ok(found)
}

/// Whether a pyproject.toml lists dependencies; many only configure tools.
fn has_dependencies(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(table) = toml::from_str::<toml::Table>(&text) else {
        return false;
    };
    table
        .get("project")
        .and_then(|project| project.get("dependencies"))
        .and_then(toml::Value::as_array)
        .is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_alone_are_not_dependencies() {
        assert!(has_dependencies(
            b"[project]\nname = \"x\"\ndependencies = [\"django\"]\n"
        ));
        assert!(!has_dependencies(b"[tool.ruff]\nline-length = 100\n"));
        assert!(!has_dependencies(b"[project]\nname = \"x\"\n"));
        assert!(!has_dependencies(b"nonsense"));
    }

    #[test]
    fn dependency_files_are_recognized() {
        for path in [
            "uv.lock",
            "pyproject.toml",
            "requirements.txt",
            "requirements-dev.in",
            "constraints.txt",
            "requirements/base.txt",
        ] {
            assert!(may_determine_environment(Path::new(path)), "{path}");
        }
        for path in ["VERSION", "docs/requirements.txt", "notes.txt", "x/uv.lock"] {
            assert!(!may_determine_environment(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_release_that_installs_itself_is_recognized() {
        for text in [
            "-e .",
            "django\n.\n",
            "./lib",
            "lib/x",
            "-e git+https://x/y",
            "x @ file:lib",
            ".[web]",
        ] {
            assert!(installs_a_path(text.as_bytes()), "{text}");
        }
        for text in [
            "django==4",
            "-r requirements/base.txt",
            "# -e .",
            "x @ git+https://h/y",
            "--index-url https://h/y",
        ] {
            assert!(!installs_a_path(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn an_included_file_changes_the_key() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("requirements"))?;
        std::fs::write(
            dir.path().join("requirements.txt"),
            "-r requirements/base.txt\n",
        )?;
        std::fs::write(dir.path().join("requirements/base.txt"), "django==4\n")?;
        let server = Server::at(Path::new("/"));
        assert_eq!(
            relevant(&server, dir.path(), "requirements.txt")?,
            ["requirements.txt", "requirements/base.txt"]
        );
        Ok(())
    }
}
