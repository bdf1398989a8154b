//! Which directories, sockets and interpreters an app may use.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::Bind;
use crate::host::Kind;
use crate::layout::reserved;

use super::Rules;

impl Rules<'_> {
    pub(super) fn directory(&self, name: &str, path: &Path) -> Result<Option<String>> {
        let real = match self.follow(path)? {
            Ok(real) => real,
            Err(why) => return Ok(Some(why)),
        };
        if let Some(why) = reserved::refused(path).or_else(|| reserved::refused(&real)) {
            return Ok(Some(why));
        }
        let at = path.display();
        let stat = self.view.stat(path)?;
        if stat.is_some_and(|stat| stat.kind == Kind::Link) {
            return Ok(Some(format!("{at} is a link")));
        }
        if let (Some(project), "static_dir") = (&self.project, name)
            && overlap(path, project)
        {
            let project = project.display();
            return Ok(Some(format!(
                "{at} and the project directory {project} overlap: static files are public, the project is not"
            )));
        }
        let overlaps = |used: &&PathBuf| overlap(path, used) || overlap(&real, used);
        if let Some(other) = self.other(|other| other.dirs.iter().any(|dir| overlaps(&dir)))? {
            let used = other.dirs.iter().find(overlaps).unwrap_or(&real);
            let (used, app) = (used.display(), &other.name);
            return Ok(Some(format!("{at} overlaps {used} of the app {app}")));
        }
        if let Some(why) = self.replaceable(real.parent().unwrap_or(&real), true)? {
            return Ok(Some(why));
        }
        if self.is_saved(name, &path.display().to_string()) || self.receipt.before(path).is_some() {
            return Ok(None);
        }
        if let Ok(below) = real.strip_prefix("/var/lib")
            && let Some(first) = below.components().next()
            && Path::new(first.as_os_str()) != below
        {
            let package = Path::new("/var/lib").join(first);
            if self.receipt.before(&package).is_none() && !self.view.list(&package)?.is_empty() {
                let package = package.display();
                return Ok(Some(format!(
                    "{package} belongs to a package or another program"
                )));
            }
        }
        let Some(stat) = stat else { return Ok(None) };
        let names = self.view.list(path)?;
        let mut names = names.iter().filter(|name| *name != "lost+found").peekable();
        let uid = self.view.user(&self.user).map_or(0, |user| user.uid);
        if names.peek().is_some() && stat.uid != 0 && stat.uid != uid {
            let owner = self.view.user_name(stat.uid);
            return Ok(Some(format!("{at} is not empty and belongs to {owner}")));
        }
        // A removed app leaves its data in shared.
        let foreign = names.find(|entry| name != "project_dir" || *entry != "shared");
        let foreign = foreign.map(|entry| entry.to_string_lossy());
        Ok(foreign.map(|entry| {
            format!("{at} is not empty and does not belong to the app: it contains {entry}")
        }))
    }

    pub(super) fn socket(&self, text: &str) -> Result<Option<String>> {
        let Ok(Bind::Unix(path)) = text.parse::<Bind>() else {
            return Ok(None);
        };
        let dir = path.as_path().parent().unwrap_or(Path::new("/"));
        let real = match self.follow(dir)? {
            Ok(real) => real,
            Err(why) => return Ok(Some(why)),
        };
        if let Some(dir) = reserved::closed(&real).filter(|dir| *dir != "/run") {
            return Ok(Some(format!(
                "{path} is in {dir}, which is not a place for sockets"
            )));
        }
        // systemd creates it as root and follows links, so not even the app's account may write there.
        self.replaceable(&real, false)
    }

    pub(super) fn python(&self, path: &Path) -> Result<Option<String>> {
        if self.view.stat_target(path)?.is_none() {
            return Ok(None);
        }
        let part = self.view.first_changeable(path)?;
        Ok(part.map(|part| {
            format!(
                "{} can be modified by users other than root, and the app runs the interpreter {}",
                part.display(),
                path.display()
            )
        }))
    }

    /// Resolves links in the existing part of a path; the inner error says which part is not a directory.
    fn follow(&self, path: &Path) -> Result<Result<PathBuf, String>> {
        let mut there = Path::new("/");
        let parts: Vec<&Path> = path.ancestors().collect();
        for part in parts.into_iter().rev() {
            if self.view.stat(part)?.is_none() {
                break;
            }
            let kind = self.view.stat_target(part)?.map(|stat| stat.kind);
            if kind != Some(Kind::Directory) {
                return Ok(Err(format!(
                    "{} exists and is not a directory",
                    part.display()
                )));
            }
            there = part;
        }
        let mut real = self.view.link_target(there)?.unwrap_or(there.to_owned());
        // `join` with an empty rest would add a slash.
        real.extend(path.strip_prefix(there)?);
        Ok(Ok(real))
    }

    /// Why somebody else could replace the content of a directory: it or a parent belongs to them or is
    /// world-writable. `allow_app`: the app's own account may own them.
    fn replaceable(&self, dir: &Path, allow_app: bool) -> Result<Option<String>> {
        let app = self.view.user(&self.user).filter(|_| allow_app);
        for part in dir.ancestors() {
            let Some(stat) = self.view.stat(part)? else {
                continue;
            };
            let trusted = stat.uid == 0 || app.as_ref().is_some_and(|app| app.uid == stat.uid);
            if !trusted || stat.mode & 0o002 != 0 {
                let who = if trusted {
                    "everybody".to_owned()
                } else {
                    self.view.user_name(stat.uid)
                };
                return Ok(Some(format!(
                    "{} can be modified by {who}, who could replace what is below it",
                    part.display()
                )));
            }
        }
        Ok(None)
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
