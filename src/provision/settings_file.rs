//! The step for the settings file.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use crate::app::{App, Facts, Settings, masked};
use crate::host::Kind;
use crate::layout;
use crate::render;

use super::file::unified;
use super::finding::{absent_group, wrong_owner};
use super::{About, Changes, Check, CheckContext, Finding, Fix, Problem, StepId};

/// The settings file. It is satisfied if it parses to the same app, so that the administrator's comments and
/// order stay.
pub(super) struct SettingsFile<'a>(pub(super) &'a App);

impl Check for SettingsFile<'_> {
    fn about(&self) -> About {
        let path = layout::settings(&self.0.name);
        About::new(StepId::AppSettings, path.display())
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let (view, path) = (context.view, layout::settings(&self.0.name));
        let Some(stat) = view.stat(&path)? else {
            return Ok(Finding::absent(self.owner()));
        };
        if stat.kind != Kind::File {
            return Ok(Problem::not_a("file", &path).into());
        }
        let text = view.read_text(&path)?.unwrap_or_default();
        let same = self.parses_to_same_app(&text);
        let diff = if same {
            None
        } else {
            let should = render::settings(self.0)?;
            Some(masked(&unified(&path, &text, &should)))
        };
        let differs = (!same).then(|| "differs from your answers".to_owned());
        let Some(group) = view.group(self.0.group.as_str()) else {
            return Ok(absent_group(&self.0.group));
        };
        Ok(
            match wrong_owner(view, &stat, group.gid, MODE).or(differs) {
                Some(what) => Finding::Differs { what, diff },
                None => Finding::Ok(self.owner()),
            },
        )
    }
}

impl Fix for SettingsFile<'_> {
    fn preview(&self) -> Option<(PathBuf, String)> {
        let text = masked(&render::settings(self.0).ok()?);
        Some((layout::settings(&self.0.name), text))
    }

    fn apply(&self, changes: &mut Changes<'_>) -> Result<()> {
        let path = layout::settings(&self.0.name);
        let old = changes.context().view.read_text(&path)?;
        let kept = old.filter(|old| self.parses_to_same_app(old));
        let text = kept.map_or_else(|| render::settings(self.0), Ok)?;
        if !self.parses_to_same_app(&text) {
            bail!("the rendered settings file differs from the answers");
        }
        let group = changes.context().view.group(self.0.group.as_str());
        let group = group.ok_or_else(|| anyhow!("its group does not exist"))?;
        changes.settings(&path, &text, MODE, group.gid)
    }
}

/// It may have addresses that are secret: polls read it, as the app's account, and nobody else.
const MODE: u32 = 0o640;

impl SettingsFile<'_> {
    fn owner(&self) -> String {
        format!("{MODE:04o} root:{}", self.0.group)
    }

    fn parses_to_same_app(&self, text: &str) -> bool {
        // Ignore detected values: only what the file sets is compared.
        let facts = Facts {
            program: self.0.program.clone(),
            systemctl: self.0.systemctl.clone(),
            ..Facts::default()
        };
        let parsed = Settings::parse(text).map(|settings| settings.app(&self.0.name, &facts));
        parsed.is_ok_and(|app| app.is_ok_and(|app| app == *self.0))
    }
}
