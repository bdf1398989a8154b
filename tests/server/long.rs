//! Repetitions and measurements for tests/long. Each has a counterpart in tests/run that does the same a few
//! times.
//!
//! | here | module in tests/run |
//! |---|---|
//! | every instant of a deployment, a failing one, a rollback | `instants` |
//! | power cuts in deployments | `power` |
//! | kills and power cuts in each step of init and remove | `killed`, `interrupted` |
//! | attacks on the agent, on both releases | `attack` |
//! | ten deployments under load, and five unhealthy releases | `load` |
//! | twenty switches under visitors, and kills in each stage of one | `switch` |
//! | an editable install over ten commits | `environments` |
//! | ways of damaging a ledger | `damaged` |
//! | a deployment after each sabotage that is fixed | `sabotage` |
//! | databases and HTTPS in the sandbox, on Debian 13 | `databases` |
//! | soak: polls without pause | `soak` |

use std::io::{self, Write};
use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::damaged::damaged_ledgers;
use crate::databases::work_in_the_sandbox;
use crate::instants::{deployments, failing_deployments, rollbacks, shared_among};
use crate::lab::Release;
use crate::load::{THREADS, under_load};
use crate::power::{Cut, When, cuts};
use crate::sabotage::{Deploy, check_table};
use crate::sabotages::{ACCOUNTS_AND_FILES, KEYS_AND_SSH, TREE_AND_SETTINGS, UNITS};
use crate::soak::soak;
use crate::{attack, environments, interrupted, killed, switch};

#[test]
#[ignore = "for tests/long"]
fn every_instant_of_a_deployment() -> Result<()> {
    let killed = shared_among(4, "instant", deployments)?;
    ensure!(killed >= 120, "only {killed} instants");
    Ok(())
}

#[test]
#[ignore = "for tests/long"]
fn every_instant_of_a_failing_deployment() -> Result<()> {
    let killed = shared_among(4, "fails", failing_deployments)?;
    ensure!(killed >= 70, "only {killed} instants");
    Ok(())
}

#[test]
#[ignore = "for tests/long"]
fn every_instant_of_a_rollback() -> Result<()> {
    let killed = shared_among(2, "rolls", rollbacks)?;
    ensure!(killed >= 40, "only {killed} instants");
    Ok(())
}

#[test]
#[ignore = "for tests/long"]
fn an_editable_install_over_ten_commits() -> Result<()> {
    environments::editable_over(10)
}

/// In a deployment of about three seconds; five of the cuts are known to come after the switch.
#[test]
#[ignore = "for tests/long"]
fn twenty_five_power_cuts() -> Result<()> {
    let moments = (0..20u8).map(|n| When::Seconds(0.1 + 0.15 * f64::from(n)));
    let cuts = cuts(moments.chain([When::Switched; 5]))?;
    let before = cuts.iter().filter(|cut| **cut == Cut::Before).count();
    ensure!(before >= 5 && cuts.len() - before >= 5, "{cuts:?}");
    Ok(())
}

#[test]
#[ignore = "for tests/long"]
fn power_cuts_in_init() -> Result<()> {
    killed::init_without_power(&[
        2, 4, 7, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 38, 40, 42, 44,
    ])
}

#[test]
#[ignore = "for tests/long"]
fn init_and_remove_killed_at_every_line_of_the_receipt() -> Result<()> {
    killed::killed_every(1, 36)
}

#[test]
#[ignore = "for tests/long"]
fn a_remove_killed_many_times() -> Result<()> {
    killed::remove_killed(1.05, 15)
}

#[test]
#[ignore = "for tests/long"]
fn an_init_killed_many_times() -> Result<()> {
    interrupted::init_killed(1.15, 14)
}

#[test]
#[ignore = "for tests/long"]
fn attacks_on_the_agent_on_bookworm() -> Result<()> {
    attack::resists_attacks(Release::Bookworm, 12)
}

#[test]
#[ignore = "for tests/long"]
fn attacks_on_the_agent_on_trixie() -> Result<()> {
    attack::resists_attacks(Release::Trixie, 12)
}

#[test]
#[ignore = "for tests/long"]
fn ten_deployments_under_load_with_sync_workers() -> Result<()> {
    under_load("", 10, 5)
}

#[test]
#[ignore = "for tests/long"]
fn ten_deployments_under_load_with_threads() -> Result<()> {
    under_load(THREADS, 10, 5)
}

#[test]
#[ignore = "for tests/long"]
fn every_way_of_damaging_a_ledger() -> Result<()> {
    damaged_ledgers(1)
}

#[test]
#[ignore = "for tests/long"]
fn soak_for_six_hundred_polls() -> Result<()> {
    soak(40, 15)
}

#[test]
#[ignore = "for tests/long"]
fn databases_and_https_in_the_sandbox_on_trixie() -> Result<()> {
    work_in_the_sandbox(Release::Trixie)
}

#[test]
#[ignore = "for tests/long"]
fn a_deployment_after_each_sabotage() -> Result<()> {
    thread::scope(|scope| {
        let tables = [ACCOUNTS_AND_FILES, KEYS_AND_SSH, UNITS, TREE_AND_SETTINGS];
        let checks = tables.map(|table| scope.spawn(|| check_table("each", table, Deploy::Each)));
        for check in checks {
            check.join().map_err(|_| anyhow!("a table panicked"))??;
        }
        Ok(())
    })
}

/// Prints the longest request without a switch and in each: asleep for 3 s, or computing for as long.
#[test]
#[ignore = "for tests/long"]
fn no_request_waits_for_five_times_four_switches() -> Result<()> {
    for how in ["asleep", "computing"] {
        for round in 1..=5 {
            let (quiet, switches) = switch::switches(how, 200)?;
            for (name, visits) in switches {
                let (longest, most) = (visits.longest, 150.max(3 * quiet.longest));
                let line = format!("{how} {round} {name}: longest {longest} ms");
                writeln!(io::stderr(), "{line}, without {} ms", quiet.longest)?;
                ensure!(how != "asleep" || longest <= most, "{name}: {longest} ms");
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "for tests/long"]
fn a_poll_killed_in_each_stage_of_its_switch() -> Result<()> {
    switch::killed_in(&switch::STAGES)
}
