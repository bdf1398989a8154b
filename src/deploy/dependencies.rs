//! The virtual environment that a release needs: keyed by the inputs of its content, so that unchanged dependencies
//! cost nothing and a rollback finds its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::app::App;
use crate::host::{Server, View};
use crate::state::refusal::Why;
use crate::state::sha256;
use crate::text::for_terminal;

use super::fetch::Code;
use super::packaging::{LOCKS, Lock, REQUIREMENTS, choose};
use super::python_needs;
use super::requirements::{closure, installs_a_path, over_ssh};

/// A link could point to /dev/zero, or to content that changes without changing the key.
const ORDINARY: &str =
    "dependencies must be listed in regular files (requirements.txt can include others: -r FILE)";

/// What a release depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// The file, empty if there is none.
    pub(super) file: &'static str,
    /// The program that installs from it, unless pip can.
    pub(super) tool: Option<PathBuf>,
    /// The environment's name under venvs/.
    pub(super) key: String,
    /// Whether the release's own code is installed there: then no other release can share it.
    pub(super) own: bool,
}

/// Why a commit's dependencies cannot be installed here, if so. Asked before anything is written, so that it uses no
/// attempt: most often this server lacks a program.
pub(super) fn refusal(server: &Server, app: &App, code: &Code) -> Result<Option<Why>> {
    // Without links: those are refused when they are read.
    let project = app.code_dir(Path::new(""));
    let near = |path: &Path| {
        let inside = path.strip_prefix(&project);
        inside.is_ok_and(|path| path.components().count() == 1 || path.starts_with("requirements"))
    };
    let files: BTreeSet<PathBuf> = (code.mirror.blobs(code.info.oid, &near)?.into_iter())
        .map(|(path, _)| path)
        .collect();
    let read = |name: &str| {
        let path = project.join(name);
        if !files.contains(&path) {
            return Ok(None);
        }
        Ok(code.mirror.read_file(code.info.oid, &path)?)
    };
    let chosen = choose(server, &read);
    let requirements = match chosen {
        Ok((file, _)) if REQUIREMENTS.contains(&file) => file,
        _ => REQUIREMENTS[0],
    };
    if let Some(why) = python_lacks(server, app, requirements, &|name| {
        let text = read(name).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    })? {
        return Ok(Some(why));
    }
    Ok(match chosen {
        Ok((file, _)) if REQUIREMENTS.contains(&file) => private(server, app, code, file)?,
        Ok(_) => None,
        Err(error) => Some(Why::Dependencies {
            words: format!("{error:#}"),
            fix: crate::error::hints(&error).join("; "),
        }),
    })
}

/// Why the app's interpreter cannot run the project, by its version.
fn python_lacks(
    server: &Server,
    app: &App,
    requirements: &str,
    read: &dyn Fn(&str) -> String,
) -> Result<Option<Why>> {
    let version = server.python_version(app.python.as_path(), None)?;
    let name = &app.name;
    Ok(python_needs::unmet(&version, read, requirements).map(|needs| Why::Dependencies {
        words: format!(
            "the project needs Python {} ({}), and {} is {version}",
            for_terminal(&needs.specifiers),
            for_terminal(&needs.said_by),
            app.python
        ),
        fix: format!(
            "install another, from the distribution or as below, and name its version: sudo UV_PYTHON_INSTALL_DIR=/opt/python uv python install VERSION && sudo pullpray init {name} --python VERSION"
        ),
    }))
}

/// Why requirements that are cloned over ssh cannot be installed: the deploy key opens one repository only. An account
/// with ssh keys of its own, or a deploy script that mentions ssh, may have another way.
fn private(server: &Server, app: &App, code: &Code, file: &str) -> Result<Option<Why>> {
    let user = app.user.as_str();
    let keys = server.user(user).map(|user| user.home.join(".ssh"));
    if keys.is_some_and(|dir| !matches!(server.stat(&dir), Ok(None)))
        || (server.read(&app.deploy_script())?)
            .is_some_and(|text| text.to_ascii_lowercase().windows(3).any(|is| is == b"ssh"))
    {
        return Ok(None);
    }
    let content = |path: &Path| {
        let path = app.code_dir(Path::new("")).join(path);
        let content = code.mirror.read_file(code.info.oid, &path)?;
        Ok(content.unwrap_or_default())
    };
    let files = closure(Path::new(file), &content)?;
    let mut lines = files
        .iter()
        .filter_map(|(file, content)| Some((file.display(), over_ssh(content)?)));
    Ok(lines.next().map(|(file, line)| Why::Dependencies {
        words: format!(
            "line {line} of {file} is cloned over ssh, and the deploy key opens no other repository"
        ),
        fix: format!(
            "commit its wheel and name it there (./wheels/NAME.whl), install it from a package index (--extra-index-url), or give {user} a read-only key and known_hosts of its own in ~{user}/.ssh"
        ),
    }))
}

/// Finds the dependency file, and the name of the environment that its content decides.
pub(super) fn find(server: &Server, app: &App, release: &Path) -> Result<Dependencies> {
    let python = server.python_version(app.python.as_path(), None)?;
    let read = |path: &Path| {
        let content = server.read_untrusted_bytes(&release.join(path));
        content.context(ORDINARY)
    };
    let (file, tool) = choose(server, &|name| read(Path::new(name)))?;
    let mut inputs = format!("{file}\0{python}\0{}\0", app.python).into_bytes();
    let mut own = false;
    let content = |path: &Path| Ok(read(path)?.unwrap_or_default());
    for (path, content) in relevant(server, release, file, &content)? {
        own |= REQUIREMENTS.contains(&file) && installs_a_path(&content);
        for part in [path.as_os_str().as_encoded_bytes(), &content] {
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
    Ok(Dependencies {
        file,
        tool,
        key,
        own,
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
    let named = |lock: &Lock| path == Path::new(lock.file) || path == Path::new(lock.beside);
    is_requirements(path) || LOCKS.iter().any(named)
}

/// Whether requirements are, or may be, in a file: by its name, or by its directory.
fn is_requirements(path: &Path) -> bool {
    let text = path.extension().is_some_and(|e| e == "txt" || e == "in");
    let name = path.to_string_lossy();
    text && (name.contains("requirement") || name.contains("constraint"))
}

/// The files that decide the content of the environment: beside the dependency file, for requirements every file that
/// they include, and those that an edited deploy script may install from.
fn relevant(
    view: &View,
    release: &Path,
    file: &str,
    read: &dyn Fn(&Path) -> Result<Vec<u8>>,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if REQUIREMENTS.contains(&file) {
        found = closure(Path::new(file), read)?;
        for dir in ["", "requirements"] {
            for name in view.list(&release.join(dir))? {
                let path = Path::new(dir).join(name);
                if is_requirements(&path) && !found.contains_key(&path) {
                    let content = read(&path)?;
                    found.insert(path, content);
                }
            }
        }
    } else if !file.is_empty() {
        let mut locks = LOCKS.iter();
        let beside = locks
            .find(|lock| lock.file == file)
            .map_or("", |lock| lock.beside);
        for name in [file, beside].into_iter().filter(|name| !name.is_empty()) {
            found.insert(name.into(), read(Path::new(name))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_files_are_recognized() {
        for path in [
            "uv.lock",
            "poetry.lock",
            "pyproject.toml",
            "requirements.txt",
            "requirements-dev.in",
            "constraints.txt",
            "requirements/base.txt",
        ] {
            assert!(may_determine_environment(Path::new(path)), "{path}");
        }
        for path in ["VERSION", "notes.txt", "x/uv.lock"] {
            assert!(!may_determine_environment(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn every_file_that_decides_the_content_changes_the_key() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let put = |path: &str, text: &str| -> Result<()> {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().context("no directory")?)?;
            Ok(std::fs::write(path, text)?)
        };
        put("requirements.txt", "-r backend/base.txt\n")?;
        put("backend/base.txt", "-c ../pins\n")?;
        put("pins", "django==4\n")?;
        put("requirements/prod.txt", "")?;
        put("pyproject.toml", "")?;
        let server = Server::at(Path::new("/"));
        let names = |file: &str| -> Result<Vec<String>> {
            let read = |path: &Path| Ok(std::fs::read(dir.path().join(path)).unwrap_or_default());
            let found = relevant(&server, dir.path(), file, &read)?;
            Ok(found
                .keys()
                .map(|path| path.display().to_string())
                .collect())
        };
        assert_eq!(
            names("requirements.txt")?,
            [
                "backend/base.txt",
                "pins",
                "requirements/prod.txt",
                "requirements.txt"
            ]
        );
        assert_eq!(names("poetry.lock")?, ["poetry.lock", "pyproject.toml"]);
        assert_eq!(names("")?, [""; 0]);
        Ok(())
    }
}
