//! What steps do to the server without a record of its own, each with the reason: it leaves nothing behind, or another
//! record covers it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use ssh_key::PrivateKey;

use crate::app::App;
use crate::host::Outcome;
use crate::layout;
use crate::state::receipt::Before;

use super::Changes;

impl Changes<'_> {
    /// Puts back what the last [`Changes::file`] replaced, or removes what it created. Its record stays: it names the
    /// state before, and undoing it does nothing to a file that does not exist.
    ///
    /// # Errors
    /// When it cannot be written or removed.
    pub fn put_back(
        &self,
        path: &Path,
        old: Option<&[u8]>,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<()> {
        match old {
            Some(old) => self.server.write(path, old, mode, Some(owner)),
            None => self.server.remove_file(path),
        }
    }

    /// Removes a file that pullpray wrote; its record stays, for which it then is already gone.
    ///
    /// # Errors
    /// When the receipt lists it as pre-existing, or it cannot be removed.
    pub fn remove_created(&self, path: &Path) -> Result<()> {
        if self.receipt.before(path) == Some(&Before::Adopted) {
            bail!("{} existed before pullpray", path.display());
        }
        self.server.remove_file(path)
    }

    /// Gives a tree in the app's directories back to the app. It needs no record: [`Changes::release`] records that the
    /// app writes there.
    ///
    /// # Errors
    /// At the first entry that cannot be changed.
    pub fn own_tree(&self, path: &Path, (uid, gid): (u32, Option<u32>)) -> Result<()> {
        self.server.own_tree(path, uid, gid).map(drop)
    }

    /// Generates an RSA key. It leaves no file behind; a killed run's is gone after the next boot.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn generate_rsa_key(&self, comment: &str) -> Result<PrivateKey> {
        let staged = layout::generated_key(self.app);
        self.server.generate_rsa_key(&staged, comment)
    }

    /// Deploys as cron would, after polls that run already. It needs no record: what a deployment writes lies in the
    /// directories that [`Changes::release`] records.
    ///
    /// # Errors
    /// When the program cannot be started or does not exit in time.
    pub fn deploy(&self, app: &App, verb: &[&str]) -> Result<Outcome> {
        let (name, limit) = (app.name.as_str(), app.limits.script_timeout());
        self.server.run_verb(&app.program, verb, name, limit)
    }

    /// Waits until no poll of the app runs. The lock leaves nothing behind.
    ///
    /// # Errors
    /// When the app's state directory cannot be locked.
    pub fn wait_for_poll(&self, patience: Duration) -> Result<()> {
        let state = layout::state(self.app);
        self.server.lock_in_time(&state, patience).map(drop)
    }

    /// Restarts the live app with a second instance beside it, once no poll runs. It needs no record: what it writes lies
    /// in the directories that [`Changes::release`] records.
    ///
    /// # Errors
    /// When the app is unhealthy afterwards, or the program cannot be started; with what it said.
    pub fn restart_app(&self, app: &App) -> Result<()> {
        self.wait_for_poll(app.limits.patience())?;
        let output = self.deploy(app, &["restart"])?;
        if output.code == Some(0) {
            return Ok(());
        }
        bail!(
            "pullpray restart {} {}\n{}",
            app.name,
            output.ended,
            output.stderr
        )
    }

    /// Restarts a unit, which leaves nothing behind.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn restart(&self, unit: &str) -> Result<()> {
        self.server.restart(unit)
    }

    /// Stops a unit of the app, which stays enabled.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn stop(&self, unit: &str) -> Result<()> {
        self.server.stop(unit)
    }

    /// Stops a unit of the app and removes its file.
    ///
    /// # Errors
    /// When systemctl fails, or the file cannot be removed.
    pub fn remove_unit(&self, unit: &str) -> Result<()> {
        self.server.disable_now(unit)?;
        self.server.remove_file(&layout::unit_file(unit))
    }

    /// Stops and disables a unit of the app.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn disable(&self, unit: &str) -> Result<()> {
        self.server.disable_now(unit)
    }

    /// Has systemd read its unit files again, which changes none of them.
    ///
    /// # Errors
    /// When systemctl fails.
    pub fn reload_units(&self) -> Result<()> {
        self.server.reload_units()
    }

    /// Has visudo check the content of a sudoers drop-in. visudo checks owner and mode too, so it gets a file with
    /// them, in a directory that sudo does not read. That file is beside the receipt, and is removed with it if this
    /// run is killed.
    ///
    /// # Errors
    /// When visudo rejects it.
    pub fn validate_sudoers(&self, content: &[u8]) -> Result<()> {
        let candidate = Path::new(layout::SUDOERS_CANDIDATE);
        (self.server).write(candidate, content, 0o440, Some((0, 0)))?;
        let complaints = self.server.sudoers_complaints(Some(candidate));
        self.server.remove_file(candidate)?;
        match complaints? {
            text if text.is_empty() => Ok(()),
            text => bail!("visudo rejects the new file: {text}"),
        }
    }
}
