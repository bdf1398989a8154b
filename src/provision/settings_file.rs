//! The step for the settings file.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::app::{App, Facts, Settings};
use crate::host::Kind;
use crate::layout;
use crate::render;

use super::file::unified;
use super::{About, Changes, CheckContext, Finding, Step, StepId};

/// The settings file. It is satisfied if it parses to the same app, so that the administrator's comments and
/// order stay.
pub(super) struct SettingsFile<'a>(pub(super) &'a App);

impl Step for SettingsFile<'_> {
    fn about(&self) -> About {
        About::new(
            StepId::AppSettings,
            "settings file",
            "file",
            layout::settings(&self.0.name).display().to_string(),
        )
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let path = layout::settings(&self.0.name);
        let Some(stat) = context.view.stat(&path)? else {
            return Ok(Finding::Absent("0644 root".to_owned()));
        };
        if stat.kind != Kind::File {
            return Ok(Finding::ManualFix(
                format!("{} exists and is not a file", path.display()),
                format!("sudo mv -T {0} {0}.was", path.display()),
            ));
        }
        if (stat.uid, stat.gid, stat.mode) != (0, 0, 0o644) {
            let is = format!(
                "{:04o} {}:{}",
                stat.mode,
                context.view.user_name(stat.uid),
                context.view.group_name(stat.gid)
            );
            return Ok(Finding::Differs(
                format!("is {is}, should be 0644 root"),
                None,
            ));
        }
        let text = context.view.read_text(&path)?.unwrap_or_default();
        if self.parses_to_same_app(&text) {
            return Ok(Finding::Ok("0644 root".to_owned()));
        }
        let diff = unified(
            &path.display().to_string(),
            &text,
            &render::settings(self.0)?,
        );
        Ok(Finding::Differs(
            "differs from your answers".to_owned(),
            Some(diff),
        ))
    }

    fn preview(&self, context: &CheckContext<'_>) -> Result<Option<(PathBuf, String)>> {
        let path = layout::settings(&self.0.name);
        let is = context.view.read_text(&path)?.unwrap_or_default();
        let diff = unified(&path.display().to_string(), &is, &render::settings(self.0)?);
        Ok(Some((path, diff)))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let path = layout::settings(&self.0.name);
        let old = changes.server().read_text(&path)?.unwrap_or_default();
        let text = if self.parses_to_same_app(&old) {
            old
        } else {
            render::settings(self.0)?
        };
        if !self.parses_to_same_app(&text) {
            bail!("the rendered settings file differs from the answers");
        }
        changes.file(&path, text.as_bytes(), 0o644, (0, 0))?;
        // The copy restores a damaged settings file.
        let copy = layout::settings_copy(&self.0.name);
        (changes.server()).write(&copy, text.as_bytes(), 0o600, Some((0, 0)))
    }
}

impl SettingsFile<'_> {
    fn parses_to_same_app(&self, text: &str) -> bool {
        let Ok(settings) = Settings::parse(text) else {
            return false;
        };
        // Ignore detected values: only what the file sets is compared.
        let facts = Facts {
            program: self.0.program.clone(),
            systemctl: self.0.systemctl.clone(),
            ..Facts::default()
        };
        settings
            .app(&self.0.name, &facts)
            .is_ok_and(|app| app == *self.0)
    }
}
