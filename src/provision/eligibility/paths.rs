//! Which directories and paths can be an app's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::app::Bind;
use crate::host::Kind;
use crate::layout::reserved;

use super::Judge;

impl Judge<'_> {
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
            return Ok(Some(format!(
                "{at} and the project's {} lie one in the other: what is in one everybody may read, in the other nobody",
                project.display()
            )));
        }
        for other in self.view.facts(None)?.others {
            for theirs in other.dirs.iter().filter(|_| other.name != self.app) {
                if overlap(path, theirs) || overlap(&real, theirs) {
                    return Ok(Some(format!(
                        "{at} and {} of the app {} lie one in the other",
                        theirs.display(),
                        other.name
                    )));
                }
            }
        }
        if let Some(why) = self.way(real.parent().unwrap_or(&real), true)? {
            return Ok(Some(why));
        }
        if self.has(name, &path.display().to_string()) || self.receipt.before(path).is_some() {
            return Ok(None);
        }
        if let Ok(below) = real.strip_prefix("/var/lib")
            && let Some(first) = below.components().next()
            && Path::new(first.as_os_str()) != below
        {
            let package = Path::new("/var/lib").join(first);
            if self.receipt.before(&package).is_none() && !self.view.list(&package)?.is_empty() {
                return Ok(Some(format!(
                    "{} is that of a package, or of somebody else",
                    package.display()
                )));
            }
        }
        let Some(stat) = stat else { return Ok(None) };
        let names = self.view.list(path)?;
        let mut names = names.iter().filter(|name| *name != "lost+found").peekable();
        let uid = self.view.user(&self.user).map_or(0, |user| user.uid);
        if names.peek().is_some() && stat.uid != 0 && stat.uid != uid {
            return Ok(Some(format!(
                "{at} is not empty, and is {}'s",
                self.view.user_name(stat.uid)
            )));
        }
        // Where an app was removed, its data is.
        let foreign = names.find(|entry| name != "project_dir" || *entry != "shared");
        Ok(foreign.map(|entry| {
            format!(
                "{at} is not empty, and not the app's: it holds {}",
                entry.to_string_lossy()
            )
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
            return Ok(Some(format!("{path} is in {dir}, where no socket belongs")));
        }
        // systemd makes it as root, through links: not even the app's account may put one there.
        self.way(&real, false)
    }

    pub(super) fn python(&self, path: &Path) -> Result<Option<String>> {
        if self.view.stat_target(path)?.is_none() {
            return Ok(None);
        }
        let part = self.view.first_changeable(path)?;
        Ok(part.map(|part| {
            format!(
                "{} can be changed by others than root, and the app runs with the interpreter {}",
                part.display(),
                path.display()
            )
        }))
    }

    /// Where a path ends, links followed as far as it is there; or what is in the way.
    fn follow(&self, path: &Path) -> Result<Result<PathBuf, String>> {
        let mut there = Path::new("/");
        let parts: Vec<&Path> = path.ancestors().collect();
        for part in parts.into_iter().rev() {
            if self.view.stat(part)?.is_none() {
                break;
            }
            let leads = self.view.stat_target(part)?.map(|stat| stat.kind);
            if leads != Some(Kind::Directory) {
                return Ok(Err(format!(
                    "{} is there and is not a directory",
                    part.display()
                )));
            }
            there = part;
        }
        let mut real = self.view.link_target(there)?.unwrap_or(there.to_owned());
        // Part by part: an empty rest would add a slash.
        real.extend(path.strip_prefix(there)?);
        Ok(Ok(real))
    }

    /// Who else could put something in the place of what is in a directory, because one on the way is theirs.
    fn way(&self, dir: &Path, or_apps: bool) -> Result<Option<String>> {
        let app = self.view.user(&self.user).filter(|_| or_apps);
        for part in dir.ancestors() {
            let Some(stat) = self.view.stat(part)? else {
                continue;
            };
            let trusted = stat.uid == 0 || app.as_ref().is_some_and(|app| app.uid == stat.uid);
            if !trusted || stat.mode & 0o002 != 0 {
                let whose = if trusted {
                    "everybody".to_owned()
                } else {
                    self.view.user_name(stat.uid)
                };
                return Ok(Some(format!(
                    "{} can be changed by {whose}, who could put something else in the place of what is below",
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
