//! The list of steps.

use crate::app::App;
use crate::layout::ManagedFile::{
    AgentUnit, BridgeSocketUnit, BridgeUnit, DeployScript, Environment, OwnSocketUnit,
    ProcessTarget, ServiceUnit, SocketUnit, SshConfig, Sudoers, TrialUnit,
};
use crate::render;

use super::account::{Group, Membership, User};
use super::agent::AgentRuns;
use super::directories::Directories;
use super::file::FileStep;
use super::host_key::PinnedHostKey;
use super::key::DeployKey;
use super::processes::Processes;
use super::release::FirstRelease;
use super::repo::{Access, ReadOnly};
use super::requirements::{Address, Program, Requirements};
use super::scheduler;
use super::service::{Healthy, Units};
use super::settings_file::SettingsFile;
use super::{Step, StepId as Id, check, fix};

/// Every step of an app, in the order in which init applies them.
#[must_use]
pub fn list(app: &App) -> Vec<Step<'_>> {
    let file = |id, file, text| fix(FileStep::new(app, id, file, text));
    let mut steps = vec![
        check(Requirements(app)),
        check(Address(app)),
        fix(Program(app)),
        fix(Group(app)),
        fix(User(app)),
        // A pre-existing account may have another primary group.
        fix(Membership {
            app,
            user: app.user.as_str(),
            id: Id::AccountMembership,
        }),
    ];
    steps.extend(app.operator.as_ref().map(|operator| {
        fix(Membership {
            app,
            user: operator.as_str(),
            id: Id::AccountOperator,
        })
    }));
    steps.extend([
        fix(Directories(app)),
        fix(SettingsFile(app)),
        file(Id::AppEnvironment, Environment, render::environment(app)),
        fix(DeployKey(app)),
        fix(PinnedHostKey(app)),
        file(Id::SshAlias, SshConfig, render::ssh_config(app)),
        file(Id::AgentUnit, AgentUnit, render::agent_service(app)),
        fix(AgentRuns(app)),
        check(Access(app)),
        check(ReadOnly(app)),
        file(Id::SudoRule, Sudoers, render::sudoers(app)),
        file(Id::DeployScript, DeployScript, render::deploy_script(app)),
        file(Id::GunicornSocket, SocketUnit, render::gunicorn_socket(app)),
        file(
            Id::GunicornOwnSocket,
            OwnSocketUnit,
            render::own_socket(app),
        ),
        file(
            Id::GunicornBridgeSocket,
            BridgeSocketUnit,
            render::bridge_socket(app),
        ),
        file(Id::GunicornBridge, BridgeUnit, render::bridge(app)),
        file(Id::GunicornTrial, TrialUnit, render::gunicorn_trial(app)),
        // After what a restart of the live service needs.
        file(
            Id::GunicornService,
            ServiceUnit,
            render::gunicorn_service(app),
        ),
    ]);
    if !app.processes.is_empty() {
        let text = render::process_target(app);
        steps.push(file(Id::ProcessTarget, ProcessTarget, text));
        let units = app.processes.iter();
        steps.extend(units.map(|process| fix(FileStep::process(app, process))));
    }
    for (process, when) in &app.limits.timers {
        steps.push(fix(FileStep::process(app, process)));
        steps.push(fix(FileStep::timer(app, process, when)));
    }
    // Before the first release: what is said about the next try if that fails is true.
    steps.extend(scheduler::steps(app));
    steps.extend([
        fix(FirstRelease(app)),
        fix(Units(app)),
        fix(Healthy(app)),
        fix(Processes(app)),
    ]);
    steps
}
