//! Step ids, as `doctor --only`, the JSON report and receipts spell them.

use std::fmt;

macro_rules! step_ids {
    ($($name:ident $text:literal;)+) => {
        /// Id of a step: `area.subject`. Ids are stable; scripts rely on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum StepId {
            $(#[doc = $text] $name,)+
        }

        impl StepId {
            /// The id as text: `account.group`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

step_ids! {
    ServerRequirements "server.requirements";
    AppAddress "app.address";
    ServerProgram "server.program";
    AccountGroup "account.group";
    AccountUser "account.user";
    AccountMembership "account.membership";
    AccountOperator "account.operator";
    ProjectDirectories "project.directories";
    AppSettings "app.settings";
    AppEnvironment "app.environment";
    KeyDeploy "key.deploy";
    SshHostKey "ssh.host_key";
    SshAlias "ssh.alias";
    AgentUnit "agent.unit";
    AgentKey "agent.key";
    RepoAccess "repo.access";
    RepoReadOnly "repo.read_only";
    SudoRule "sudo.rule";
    DeployScript "deploy.script";
    GunicornSocket "gunicorn.socket";
    GunicornService "gunicorn.service";
    GunicornTrial "gunicorn.trial";
    AppRelease "app.release";
    GunicornRunning "gunicorn.running";
    AppHealthy "app.healthy";
    ScheduleCron "schedule.cron";
    PollRecent "poll.recent";
    ServerClock "server.clock";
    ServerSpace "server.space";
    AppReceipt "app.receipt";
    SshHostKeyShown "ssh.host_key_shown";
    RepoOnly "repo.only";
    UnitsDropIns "units.drop_ins";
    ProjectOwnership "project.ownership";
    AuditRoot "audit.root";
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
