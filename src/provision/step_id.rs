//! Step ids, as `doctor --only`, the JSON report and receipts spell them.

use std::fmt;

/// Id of a step: `area.subject`. Ids are stable; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    missing_docs,
    reason = "each is documented by its title in `doctor --list`"
)]
pub enum StepId {
    ServerRequirements,
    AppAddress,
    ServerProgram,
    AccountGroup,
    AccountUser,
    AccountMembership,
    AccountOperator,
    ProjectDirectories,
    AppSettings,
    AppEnvironment,
    KeyDeploy,
    SshHostKey,
    SshAlias,
    AgentUnit,
    AgentKey,
    RepoAccess,
    RepoReadOnly,
    SudoRule,
    DeployScript,
    GunicornSocket,
    GunicornService,
    GunicornTrial,
    AppRelease,
    GunicornRunning,
    AppHealthy,
    ScheduleCron,
    PollRecent,
    ServerClock,
    ServerSpace,
    AppReceipt,
    SshHostKeyShown,
    RepoOnly,
    UnitsDropIns,
    ProjectOwnership,
    AuditRoot,
}

impl StepId {
    /// The id as text: `account.group`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerRequirements => "server.requirements",
            Self::AppAddress => "app.address",
            Self::ServerProgram => "server.program",
            Self::AccountGroup => "account.group",
            Self::AccountUser => "account.user",
            Self::AccountMembership => "account.membership",
            Self::AccountOperator => "account.operator",
            Self::ProjectDirectories => "project.directories",
            Self::AppSettings => "app.settings",
            Self::AppEnvironment => "app.environment",
            Self::KeyDeploy => "key.deploy",
            Self::SshHostKey => "ssh.host_key",
            Self::SshAlias => "ssh.alias",
            Self::AgentUnit => "agent.unit",
            Self::AgentKey => "agent.key",
            Self::RepoAccess => "repo.access",
            Self::RepoReadOnly => "repo.read_only",
            Self::SudoRule => "sudo.rule",
            Self::DeployScript => "deploy.script",
            Self::GunicornSocket => "gunicorn.socket",
            Self::GunicornService => "gunicorn.service",
            Self::GunicornTrial => "gunicorn.trial",
            Self::AppRelease => "app.release",
            Self::GunicornRunning => "gunicorn.running",
            Self::AppHealthy => "app.healthy",
            Self::ScheduleCron => "schedule.cron",
            Self::PollRecent => "poll.recent",
            Self::ServerClock => "server.clock",
            Self::ServerSpace => "server.space",
            Self::AppReceipt => "app.receipt",
            Self::SshHostKeyShown => "ssh.host_key_shown",
            Self::RepoOnly => "repo.only",
            Self::UnitsDropIns => "units.drop_ins",
            Self::ProjectOwnership => "project.ownership",
            Self::AuditRoot => "audit.root",
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
