//! A table of units instead of systemd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, bail};

use super::super::{UnitState, Units};
use super::{Instants, lock};

/// A table of units. Starting one records what its watched link points to, which is the release that it then runs.
#[derive(Debug)]
pub struct FakeUnits {
    root: PathBuf,
    instants: Arc<Instants>,
    state: Mutex<UnitTable>,
}

/// The units of a [`FakeUnits`].
#[derive(Debug, Default)]
pub struct UnitTable {
    /// By name; a unit with a file in /etc/systemd/system is loaded even if it is not here.
    pub units: BTreeMap<String, UnitState>,
    /// Units that fail when they are started.
    pub crashing: BTreeSet<String>,
    /// The link that a unit resolves when it starts, below the root.
    pub watched: BTreeMap<String, PathBuf>,
    /// What a unit's watched link pointed to when it was started last.
    pub runs: BTreeMap<String, PathBuf>,
    /// Every command, as systemctl gets it; with `sudo ` in front if it came through sudo.
    pub commands: Vec<String>,
    /// What sudo says when it refuses everything.
    pub sudo_refuses: Option<String>,
    /// The last lines of units in the journal.
    pub logs: BTreeMap<String, String>,
    started: u32,
}

impl FakeUnits {
    pub(super) fn new(root: &Path, instants: &Arc<Instants>) -> Self {
        Self {
            root: root.to_owned(),
            instants: Arc::clone(instants),
            state: Mutex::default(),
        }
    }

    /// The table, to inspect and to change.
    pub fn table(&self) -> MutexGuard<'_, UnitTable> {
        lock(&self.state)
    }

    /// Whether the unit runs.
    pub fn is_active(&self, unit: &str) -> bool {
        self.table()
            .units
            .get(unit)
            .is_some_and(UnitState::is_active)
    }

    fn mark(&self, unit: &str) -> PathBuf {
        self.root
            .join("run/systemd/units")
            .join(format!("invocation:{unit}"))
    }
}

impl UnitTable {
    fn start(&mut self, root: &Path, unit: &str) -> bool {
        self.started += 1;
        let link = self.watched.get(unit);
        let runs =
            link.and_then(|link| fs::read_link(root.join(link.strip_prefix("/").ok()?)).ok());
        let lost = link.is_some() && runs.is_none();
        if let Some(runs) = runs {
            self.runs.insert(unit.to_owned(), runs);
        }
        let failed = lost || self.crashing.contains(unit);
        let state = self.units.entry(unit.to_owned()).or_default();
        state.main_pid = if failed { 0 } else { self.started };
        state.active = if failed { "failed" } else { "active" }.to_owned();
        state.result = if failed { "exit-code" } else { "success" }.to_owned();
        !failed
    }
}

impl Units for FakeUnits {
    fn version(&self) -> Result<Option<String>> {
        Ok(Some("252".to_owned()))
    }

    fn show(&self, unit: &str) -> Result<UnitState> {
        let file = self.root.join("etc/systemd/system").join(unit);
        let known = self.table().units.get(unit).cloned();
        let load = if known.is_some() || file.exists() {
            "loaded"
        } else {
            "not-found"
        };
        let mut state = known.unwrap_or_default();
        for (field, value) in [(&mut state.load, load), (&mut state.active, "inactive")] {
            if field.is_empty() {
                value.clone_into(field);
            }
        }
        if state.result.is_empty() {
            "success".clone_into(&mut state.result);
        }
        Ok(state)
    }

    fn log(&self, unit: &str, _lines: u32) -> String {
        self.table().logs.get(unit).cloned().unwrap_or_default()
    }

    fn status(&self, _systemctl: &Path, arguments: &[&str]) -> String {
        let unit = arguments.last().copied().unwrap_or_default();
        format!("* {unit}\n   Loaded: loaded\n\n{}", self.log(unit, 0))
    }

    fn control(&self, arguments: &[&str], sudo: Option<&Path>) -> Result<()> {
        let line = format!(
            "{}{}",
            if sudo.is_some() { "sudo " } else { "" },
            arguments.join(" ")
        );
        self.instants.pass(&format!("systemctl {line}"));
        self.table().commands.push(line);
        if let Some(words) = self
            .table()
            .sudo_refuses
            .as_ref()
            .filter(|_| sudo.is_some())
        {
            bail!("sudo exited with status 1: {words}");
        }
        let (Some(verb), Some(unit)) = (arguments.first(), arguments.last()) else {
            bail!("systemctl without arguments");
        };
        if *verb == "daemon-reload" {
            return Ok(());
        }
        if self.show(unit)?.load == "not-found" {
            bail!("Unit {unit} not found.");
        }
        let mut table = self.table();
        let state = table.units.entry((*unit).to_owned()).or_default();
        let mut started = true;
        match *verb {
            "enable" => "enabled".clone_into(&mut state.enabled),
            "disable" => "disabled".clone_into(&mut state.enabled),
            "reset-failed" if state.active == "failed" => "inactive".clone_into(&mut state.active),
            "start" if state.is_active() => {}
            "start" | "restart" => started = table.start(&self.root, unit),
            _ => {}
        }
        if *verb == "stop" || arguments.contains(&"--now") {
            let state = table.units.entry((*unit).to_owned()).or_default();
            "inactive".clone_into(&mut state.active);
            state.main_pid = 0;
        }
        let active = table.units.get(*unit).is_some_and(UnitState::is_active);
        drop(table);
        // systemd keeps this link exactly while the unit runs.
        let mark = self.mark(unit);
        drop(fs::remove_file(&mark));
        if active {
            fs::create_dir_all(mark.parent().unwrap_or(&self.root))?;
            std::os::unix::fs::symlink("0123456789abcdef", &mark)?;
        }
        if !started {
            bail!("Job for {unit} failed.");
        }
        Ok(())
    }
}
