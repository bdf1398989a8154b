//! Tests of pullpray on booted servers. They need root; `tests/run` installs everything else.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules of .clippy.toml are for the program, not for its tests"
)]

mod again;
mod all_apps;
mod asgi;
mod attack;

mod ci;
mod commit_status;
mod credentials;
mod cron;
mod daily;
mod damaged;
mod databases;
mod deploying;
mod directories;
mod disks;
mod doctor;
mod environment;
mod environments;
mod escapes;
mod faults;
mod faults_disk;
mod faults_guest;
mod faults_remote;
mod faults_time;
mod faults_tree;
mod fixture;
mod front_end;
mod hardened;
mod heartbeat;
mod hooks;
mod hostile;
mod install_and_remove;
mod instants;
mod interrupted;
mod key;
mod killed;
#[expect(
    dead_code,
    unused_imports,
    reason = "the fixture offers more than the tests currently use"
)]
mod lab;
mod live;
mod load;
mod long;
mod metrics;
mod monorepo;
mod moving;
mod names;
mod neighbours;
mod notices;
mod only_what_passed;
mod openpgp;
mod outbound;
mod power;
mod processes;
mod project_tests;
mod projects;
mod proxy;
mod readers;
mod refusals;
mod requirements;
mod rights;
mod sabotage;
mod sabotages;
mod scheduler;
mod soak;
mod switch;
mod terminals;
mod timers;
mod unfit;
mod upgrade;
mod wizard;
mod writes;
