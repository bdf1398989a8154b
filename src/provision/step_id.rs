//! Step ids, as `doctor --only`, the JSON report and receipts spell them.

use std::fmt;

macro_rules! step_ids {
    ($($name:ident $text:literal $kind:ident $title:literal;)+) => {
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

            /// What the step is about: `file`, `user`, `unit` …
            #[must_use]
            pub fn kind(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($kind),)+
                }
            }

            /// Its title for people; `{}` stands for the name or path.
            pub(super) fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }
        }
    };
}

step_ids! {
    ServerRequirements "server.requirements" server "server requirements";
    AppAddress "app.address" address "address {}";
    ServerProgram "server.program" file "pullpray program";
    AccountGroup "account.group" group "group {}";
    AccountUser "account.user" user "user {}";
    AccountMembership "account.membership" member "membership";
    AccountOperator "account.operator" member "operator";
    ProjectDirectories "project.directories" dirs "directories";
    AppSettings "app.settings" file "settings file";
    AppEnvironment "app.environment" file "environment file";
    KeyDeploy "key.deploy" key "deploy key";
    SshHostKey "ssh.host_key" file "host key";
    SshAlias "ssh.alias" file "ssh alias";
    AgentUnit "agent.unit" file "agent unit";
    AgentKey "agent.key" unit "deploy key in agent";
    RepoAccess "repo.access" access "repository";
    RepoReadOnly "repo.read_only" access "key is read-only";
    SudoRule "sudo.rule" file "sudoers drop-in";
    DeployScript "deploy.script" file "deploy script";
    GunicornSocket "gunicorn.socket" file "gunicorn socket unit";
    GunicornOwnSocket "gunicorn.own_socket" file "gunicorn's own socket unit";
    GunicornBridgeSocket "gunicorn.bridge_socket" file "bridge socket unit";
    GunicornBridge "gunicorn.bridge" file "bridge unit";
    GunicornService "gunicorn.service" file "gunicorn service unit";
    GunicornTrial "gunicorn.trial" file "trial unit";
    ProcessTarget "process.target" file "target of the processes";
    ProcessUnit "process.unit" file "process unit";
    ProcessRunning "process.running" unit "processes beside web";
    AppRelease "app.release" deploy "first release";
    GunicornRunning "gunicorn.running" unit "gunicorn units";
    AppHealthy "app.healthy" health "healthy";
    ScheduleCron "schedule.cron" file "schedule";
    ScheduleService "schedule.service" file "poll unit";
    ScheduleTimer "schedule.timer" file "schedule";
    PollRecent "poll.recent" poll "last poll";
    NotifyChannels "notify.channels" poll "notices";
    ServerClock "server.clock" server "clock";
    ServerSpace "server.space" disk "disk space";
    ServerConnections "server.connections" server "connections";
    AppReceipt "app.receipt" file "receipt";
    SshHostKeyShown "ssh.host_key_shown" access "host key presented by {}";
    RepoOnly "repo.only" access "key opens this repository only";
    UnitsDropIns "units.drop_ins" unit "unit overrides";
    ProjectOwnership "project.ownership" dirs "ownership and setgid";
    AuditRoot "audit.root" audit "privilege-escalation paths";
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
