//! What sudo allows, according to sudo and visudo themselves.

use std::path::Path;

use anyhow::Result;

use super::command::last_lines;
use super::{Identity, View};

impl View {
    /// Why sudo does not allow that user to run exactly these arguments (`sudo -n -l`), in its own last line; `None` if it
    /// does. Whether it asks for a password is in [`View::sudo_rules`].
    ///
    /// # Errors
    /// When sudo cannot be run.
    pub fn sudo_refusal(&self, identity: &Identity, arguments: &[&str]) -> Result<Option<String>> {
        let output = self
            .command("sudo")
            .args(["-n", "-l", "--"])
            .args(arguments)
            .run_as(Some(identity))
            .outcome()?;
        let last = || last_lines(&output.stderr, 1);
        Ok((!output.success()).then(last))
    }

    /// Whether sudo can read its configuration at all; it skips some files that visudo rejects.
    ///
    /// # Errors
    /// When sudo cannot be run.
    pub fn sudo_works(&self) -> Result<bool> {
        let output = self.command("sudo").args(["-n", "-l"]).outcome()?;
        // `Defaults requiretty` refuses a run without a terminal after reading everything.
        Ok(output.success() || output.stderr.contains("must have a tty"))
    }

    /// Lists every sudo rule for that user, in order of precedence (`sudo -n -l -l`).
    ///
    /// # Errors
    /// When sudo cannot be run or fails.
    pub fn sudo_rules(&self, identity: &Identity) -> Result<String> {
        let output = self
            .command("sudo")
            .args(["-n", "-l", "-l"])
            .run_as(Some(identity))
            .run()?;
        Ok(output.stdout)
    }

    /// Returns visudo's errors for one file that is not installed yet, or for the whole configuration (`None`);
    /// empty if there are none.
    ///
    /// # Errors
    /// When visudo cannot be run.
    pub fn sudoers_complaints(&self, file: Option<&Path>) -> Result<String> {
        let mut command = self.command("visudo").arg("-c");
        if let Some(file) = file {
            command = command.args(["-O", "-P", "-f"]).arg(file);
        }
        let output = command.outcome()?;
        Ok(if output.success() {
            String::new()
        } else {
            output.failure()
        })
    }
}
