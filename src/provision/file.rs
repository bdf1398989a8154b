//! The step for a file, shared by sudoers, cron, the ssh alias and units: content from a template, owner
//! and mode, validation before it is in place, and verification with the program that reads it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use similar::TextDiff;

use crate::host::{Kind, Server, View};
use crate::state::sha256;

use super::{About, Changes, CheckContext, Finding, Step, StepId};

/// Verifies a file in place with the program that reads it: `None` if it is accepted, otherwise what is
/// wrong and a command.
pub(super) type Verify<'a> = Box<dyn Fn(&View) -> Result<Option<(String, String)>> + 'a>;
/// Why the program that reads the file ignores it until it is rewritten; `None` if it does not.
pub(super) type Ignored<'a> = Box<dyn Fn(&View) -> Result<Option<String>> + 'a>;
/// Validates new content; on error the file is not written.
pub(super) type Before<'a> = Box<dyn Fn(&Server, &[u8]) -> Result<()> + 'a>;
/// Runs after the write; on error the write is reverted.
pub(super) type After<'a> = Box<dyn Fn(&Server) -> Result<()> + 'a>;

/// How the content of a file is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Must equal the rendered template, unless the administrator modified it.
    Ours,
    /// Written once; belongs to the administrator from then on.
    WrittenOnce,
}

/// A file owned by root.
pub(super) struct FileStep<'a> {
    pub(super) id: StepId,
    pub(super) title: &'static str,
    pub(super) path: PathBuf,
    /// The rendered text, or the step that blocks it and why.
    pub(super) content: Result<String, (StepId, String)>,
    pub(super) kind: Content,
    pub(super) mode: u32,
    /// Name of the group; `None`: root.
    pub(super) group: Option<&'a str>,
    /// Precondition, checked while the file is missing.
    pub(super) needs: Option<Verify<'a>>,
    pub(super) before: Option<Before<'a>>,
    pub(super) after: Option<After<'a>>,
    pub(super) ignored: Option<Ignored<'a>>,
    pub(super) verify: Option<Verify<'a>>,
}

impl FileStep<'_> {
    fn gid(&self, view: &View) -> Option<u32> {
        match self.group {
            None => Some(0),
            Some(name) => view.group(name).map(|group| group.gid),
        }
    }

    fn owner(&self) -> String {
        format!(
            "{:04o} root{}",
            self.mode,
            self.group.map(|g| format!(":{g}")).unwrap_or_default()
        )
    }
}

impl Step for FileStep<'_> {
    fn about(&self) -> About {
        About::new(
            self.id,
            self.title.to_owned(),
            "file",
            self.path.display().to_string(),
        )
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let wanted = match &self.content {
            Ok(text) => text,
            Err((step, why)) => return Ok(Finding::Blocked(*step, why.clone())),
        };
        let Some(stat) = context.view.stat(&self.path)? else {
            if let Some(needs) = &self.needs
                && let Some((why, hint)) = needs(context.view)?
            {
                return Ok(Finding::ManualFix(why, hint));
            }
            return Ok(Finding::Absent(self.owner()));
        };
        let path = self.path.display();
        if stat.kind != Kind::File {
            // `systemctl mask` replaces a unit with this link (systemctl(1)).
            let masked = stat.kind == Kind::Link
                && context.view.read_link(&self.path)?.as_deref() == Some(Path::new("/dev/null"));
            return Ok(if masked {
                let unit = self.path.file_name().unwrap_or_default().to_string_lossy();
                Finding::ManualFix(
                    format!("{unit} is masked"),
                    format!("sudo systemctl unmask {unit}"),
                )
            } else {
                Finding::ManualFix(
                    format!("{path} exists and is not a file"),
                    format!("sudo mv -T {path} {path}.was"),
                )
            });
        }
        let Some(gid) = self.gid(context.view) else {
            return Ok(Finding::Blocked(
                StepId::AccountGroup,
                format!(
                    "its group {} does not exist yet",
                    self.group.unwrap_or("root")
                ),
            ));
        };
        if (stat.uid, stat.gid, stat.mode) != (0, gid, self.mode) {
            let is = format!(
                "{:04o} {}:{}",
                stat.mode,
                context.view.user_name(stat.uid),
                context.view.group_name(stat.gid)
            );
            return Ok(Finding::Differs(
                format!("is {is}, should be {}", self.owner()),
                None,
            ));
        }
        // cron ignores a file with more than one hard link (cron(8)); the other name would also allow changes.
        if stat.links > 1 {
            return Ok(Finding::Differs(
                format!("has {} hard links", stat.links),
                None,
            ));
        }
        let mut modified = None;
        if self.kind == Content::Ours {
            let bytes = context.view.read(&self.path)?.unwrap_or_default();
            if bytes != wanted.as_bytes() {
                let is = String::from_utf8_lossy(&bytes);
                let diff = unified(&path.to_string(), &is, wanted);
                let ours = context.receipt.wrote(&self.path, &sha256(&bytes));
                if ours || context.overwrite {
                    return Ok(Finding::Differs("content differs".to_owned(), Some(diff)));
                }
                modified = Some(diff);
            }
        }
        if let Some(ignored) = &self.ignored
            && let Some(why) = ignored(context.view)?
        {
            return Ok(Finding::Differs(why, None));
        }
        if let Some(verify) = &self.verify
            && let Some((why, hint)) = verify(context.view)?
        {
            return Ok(Finding::ManualFix(why, hint));
        }
        Ok(match modified {
            Some(diff) => Finding::LocallyModified("modified locally, left as is".to_owned(), diff),
            None => Finding::Ok(self.owner()),
        })
    }

    fn preview(&self, context: &CheckContext<'_>) -> Result<Option<(PathBuf, String)>> {
        let Ok(text) = &self.content else {
            return Ok(None);
        };
        let is = context.view.read(&self.path)?.unwrap_or_default();
        if self.kind == Content::WrittenOnce && !is.is_empty() {
            return Ok(None);
        }
        let diff = unified(
            &self.path.display().to_string(),
            &String::from_utf8_lossy(&is),
            text,
        );
        Ok(Some((self.path.clone(), diff)))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let text = self
            .content
            .as_ref()
            .map_err(|(step, why)| anyhow!("blocked by {step}: {why}"))?;
        let server = changes.server();
        let gid = self
            .gid(server)
            .ok_or_else(|| anyhow!("group {} does not exist", self.group.unwrap_or("root")))?;
        // The administrator's content stays; only owner and mode are set.
        let old = server.read(&self.path)?;
        let keep_content = old.as_ref().is_some_and(|old| {
            let context = changes.context();
            self.kind == Content::WrittenOnce
                || (!context.overwrite && !context.receipt.wrote(&self.path, &sha256(old)))
        });
        let bytes = match &old {
            Some(old) if keep_content => old.as_slice(),
            _ => text.as_bytes(),
        };
        if let Some(before) = &self.before {
            before(server, bytes)?;
        }
        if keep_content {
            changes.adopt_file(&self.path)?;
            changes
                .server()
                .write(&self.path, bytes, self.mode, Some((0, gid)))?;
        } else {
            changes.file(&self.path, bytes, self.mode, (0, gid))?;
        }
        let Some(after) = &self.after else {
            return Ok(());
        };
        let Err(error) = after(changes.server()) else {
            return Ok(());
        };
        // Revert at once: the configuration as a whole was rejected.
        match old {
            Some(old) => changes
                .server()
                .write(&self.path, &old, self.mode, Some((0, gid)))?,
            None => changes.server().remove_file(&self.path)?,
        }
        drop(after(changes.server()));
        Err(error.context(format!("reverted {}", self.path.display())))
    }
}

/// Unified diff from the current to the desired text.
pub(super) fn unified(path: &str, is: &str, should: &str) -> String {
    TextDiff::from_lines(is, should)
        .unified_diff()
        .header(path, &format!("{path} (pullpray)"))
        .to_string()
}
