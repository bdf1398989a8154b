//! A file as a step: the same for sudoers, cron, the ssh alias and units. Content from a template,
//! owner and mode, a check before it is in place, questions to the program that reads it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use similar::TextDiff;

use crate::host::{Kind, Server, View};
use crate::state::sha256;

use super::{Changes, CheckContext, Finding, PlanItem, Step, StepId};

/// What is asked of the program that reads the file, once it is in place: `None` if all is well,
/// else what is wrong and what to do.
pub(super) type Verify<'a> = Box<dyn Fn(&View) -> Result<Option<(String, String)>> + 'a>;
/// Why the program that reads it passes it over as it is, though it would take it if it were written again.
pub(super) type Ignored<'a> = Box<dyn Fn(&View) -> Result<Option<String>> + 'a>;
/// What is asked of a candidate before it is in place; an error keeps it out.
pub(super) type Before<'a> = Box<dyn Fn(&Server, &[u8]) -> Result<()> + 'a>;
/// What is done once it is in place; an error takes it out again.
pub(super) type After<'a> = Box<dyn Fn(&Server) -> Result<()> + 'a>;

/// Whose file is compared how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// It must be what the template gives, unless the administrator changed it.
    Ours,
    /// It is written once and the administrator's from then on.
    WrittenOnce,
}

/// A file with root as its owner.
pub(super) struct FileStep<'a> {
    pub(super) id: StepId,
    pub(super) title: &'static str,
    pub(super) path: PathBuf,
    /// The text, or the step that has to come first.
    pub(super) content: Result<String, (StepId, String)>,
    pub(super) kind: Content,
    pub(super) mode: u32,
    /// The group by name; root's if there is none.
    pub(super) group: Option<&'a str>,
    /// What has to be there before it is made, asked as long as it is not.
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
    fn id(&self) -> StepId {
        self.id
    }
    fn title(&self) -> String {
        self.title.to_owned()
    }
    fn plan_item(&self) -> PlanItem {
        PlanItem {
            kind: "file",
            what: self.path.display().to_string(),
        }
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
            // What `systemctl mask` makes in the place of a unit (systemctl(1)).
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
                    format!("{path} is there and is not a file"),
                    format!("sudo mv -T {path} {path}.was"),
                )
            });
        }
        let Some(gid) = self.gid(context.view) else {
            return Ok(Finding::Blocked(
                StepId::AccountGroup,
                format!("its group {} is made first", self.group.unwrap_or("root")),
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
        // cron ignores a file with a second name (cron(8)); it would also be changed from elsewhere.
        if stat.links > 1 {
            return Ok(Finding::Differs(
                format!("has {} names (hard links)", stat.links),
                None,
            ));
        }
        let mut kept = None;
        if self.kind == Content::Ours {
            let bytes = context.view.read(&self.path)?.unwrap_or_default();
            if bytes != wanted.as_bytes() {
                let is = String::from_utf8_lossy(&bytes);
                let diff = unified(&path.to_string(), &is, wanted);
                let ours = context.receipt.wrote(&self.path, &sha256(&bytes));
                if ours || context.overwrite {
                    return Ok(Finding::Differs(
                        "its content is another".to_owned(),
                        Some(diff),
                    ));
                }
                kept = Some(diff);
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
        Ok(match kept {
            Some(diff) => {
                Finding::LocallyModified("changed by somebody, and kept so".to_owned(), diff)
            }
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
            .map_err(|(step, why)| anyhow!("waits for {step}: {why}"))?;
        let server = changes.server();
        let gid = self
            .gid(server)
            .ok_or_else(|| anyhow!("there is no group {}", self.group.unwrap_or("root")))?;
        // Content that is the administrator's stays; only owner and mode are mended.
        let old = server.read(&self.path)?;
        let theirs = old.as_ref().is_some_and(|old| {
            let context = changes.context();
            self.kind == Content::WrittenOnce
                || (!context.overwrite && !context.receipt.wrote(&self.path, &sha256(old)))
        });
        let bytes = match &old {
            Some(old) if theirs => old.as_slice(),
            _ => text.as_bytes(),
        };
        if let Some(before) = &self.before {
            before(server, bytes)?;
        }
        if theirs {
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
        // What the whole cannot bear is taken out at once.
        match old {
            Some(old) => changes
                .server()
                .write(&self.path, &old, self.mode, Some((0, gid)))?,
            None => changes.server().remove_file(&self.path)?,
        }
        drop(after(changes.server()));
        Err(error.context(format!("{} was taken out again", self.path.display())))
    }
}

/// A unified diff from what is to what should be.
pub(super) fn unified(path: &str, is: &str, should: &str) -> String {
    TextDiff::from_lines(is, should)
        .unified_diff()
        .header(path, &format!("{path} (pullpray)"))
        .to_string()
}
