//! The list of steps.

use crate::app::App;

use super::account::{Group, Membership, User};
use super::agent::AgentRuns;
use super::directories::Directories;
use super::files;
use super::host_key::PinnedHostKey;
use super::key::DeployKey;
use super::release::FirstRelease;
use super::repo::{Access, ReadOnly};
use super::requirements::{Address, Program, Requirements};
use super::service::{Healthy, Units};
use super::settings_file::SettingsFile;
use super::{Step, StepId};

/// Every step of an app, in the order in which init applies them.
#[must_use]
pub fn list(app: &App) -> Vec<Box<dyn Step + '_>> {
    let mut steps: Vec<Box<dyn Step + '_>> = vec![
        Box::new(Requirements(app)),
        Box::new(Address(app)),
        Box::new(Program(app)),
        Box::new(Group(app)),
        Box::new(User(app)),
        // A pre-existing account may have another primary group.
        Box::new(Membership {
            app,
            user: app.user.as_str(),
            id: StepId::AccountMembership,
        }),
    ];
    if let Some(operator) = &app.operator {
        steps.push(Box::new(Membership {
            app,
            user: operator.as_str(),
            id: StepId::AccountOperator,
        }));
    }
    steps.push(Box::new(Directories(app)));
    steps.push(Box::new(SettingsFile(app)));
    steps.push(Box::new(files::environment(app)));
    steps.push(Box::new(DeployKey(app)));
    steps.push(Box::new(PinnedHostKey(app)));
    steps.push(Box::new(files::ssh_alias(app)));
    steps.push(Box::new(files::agent_unit(app)));
    steps.push(Box::new(AgentRuns(app)));
    steps.push(Box::new(Access(app)));
    steps.push(Box::new(ReadOnly(app)));
    steps.push(Box::new(files::sudoers(app)));
    steps.push(Box::new(files::deploy_script(app)));
    steps.push(Box::new(files::gunicorn_socket(app)));
    steps.push(Box::new(files::gunicorn_service(app)));
    steps.push(Box::new(files::gunicorn_trial(app)));
    steps.push(Box::new(FirstRelease(app)));
    steps.push(Box::new(Units(app)));
    steps.push(Box::new(Healthy(app)));
    steps.push(Box::new(files::cron(app)));
    steps
}
