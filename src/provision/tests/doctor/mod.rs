//! Every step on a server that somebody sabotaged: what is found, and whether applying the step repairs it.

mod access;
mod branches;
mod files;
mod places;
mod running;
mod settings;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::state::difference;
use super::world::World;
use crate::layout::{self, ManagedFile};
use crate::provision::{Changes, Converged, Finding, StepId};

/// What somebody did.
type Sabotage = fn(&Path) -> Result<()>;

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn world() -> Result<World> {
    let world = World::new()?;
    world.init()?;
    Ok(world)
}

/// The finding as `doctor` sorts it, with its summary.
fn sorted(finding: &Finding) -> (&'static str, &str) {
    let kind = match finding {
        Finding::Ok(_) => "ok",
        Finding::LocallyModified { .. } => "modified",
        Finding::Absent(_) => "absent",
        Finding::Differs { .. } => "differs",
        Finding::Blocked { .. } => "blocked",
        Finding::AwaitsAccess(_) => "access",
        Finding::Unproven(_) => "unproven",
        Finding::Unknown(_) => "unknown",
        Finding::Warning(_) => "warning",
        Finding::ManualFix(_) => "manual",
    };
    (kind, finding.summary())
}

/// Expects a finding whose summary contains the text.
fn expect(world: &World, id: StepId, kind: &str, text: &str) -> Result<Finding> {
    let finding = world.find(id)?;
    let (is, summary) = sorted(&finding);
    ensure!(is == kind && summary.contains(text), "{id}: {finding:?}");
    Ok(finding)
}
