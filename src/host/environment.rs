//! Environment files, as this server's systemd reads them.

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::app::Invalid;
use crate::app::environment::{self, Dialect};
use crate::error::WithHint;

use super::View;

impl View {
    /// Returns the variables of an `EnvironmentFile=`, as this server's version of systemd reads it; none if it does
    /// not exist.
    ///
    /// # Errors
    /// When it cannot be read, or systemd would refuse to start a unit with it.
    pub fn environment(&self, path: &Path) -> Result<Vec<(String, String)>> {
        self.environment_with(path, environment::parse)
    }

    /// Returns what systemd ignores in an `EnvironmentFile=`, or reads otherwise than it looks, for a sentence; `None`
    /// if all of it counts. It names lines and no content.
    ///
    /// # Errors
    /// As [`Self::environment`].
    pub fn environment_misread(&self, path: &Path) -> Result<Option<String>> {
        let lines = self.environment_with(path, environment::misread)?;
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        Ok((!lines.is_empty()).then(|| format!("{}: {}", path.display(), lines.join("; "))))
    }

    /// The text of an environment file with this variable set, as this server's systemd reads it.
    ///
    /// # Errors
    /// Why it cannot be set.
    pub fn set_variable(&self, text: &str, name: &str, value: &str) -> Result<String> {
        let dialect = self.dialect()?;
        environment::set(text, name, value, dialect).map_err(|invalid| anyhow!("{invalid}"))
    }

    fn environment_with<T>(
        &self,
        path: &Path,
        read: impl Fn(&[u8], Dialect) -> Result<T, Invalid>,
    ) -> Result<T> {
        let text = self.read(path)?.unwrap_or_default();
        let dialect = self.dialect()?;
        read(&text, dialect).map_err(|error| {
            anyhow!("{} cannot be used: {error}", path.display())
                .hint("no unit starts with it either; save it as UTF-8")
        })
    }

    fn dialect(&self) -> Result<Dialect> {
        let version = self.outside.units.version()?;
        Ok(match version.and_then(|text| text.parse::<u32>().ok()) {
            Some(version) if version < 254 => Dialect::Before254,
            _ => Dialect::Since254,
        })
    }
}
