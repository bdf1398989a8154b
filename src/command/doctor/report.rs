//! The report of doctor, as text and as JSON.

use anyhow::Result;
use serde::Serialize;

use crate::app::AppName;
use crate::text::for_terminal;

/// The version of the JSON form; tests/project/doctor.schema.json describes it.
const SCHEMA: u32 = 1;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It holds.
    Ok,
    /// It holds, and somebody should have a look.
    Warn,
    /// It does not hold.
    Fail,
    /// It was not checked: another check comes first, or `--offline`.
    Skip,
    /// It could not be checked.
    Error,
}

/// One check of one app.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) app: String,
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) status: Status,
    pub(super) message: String,
    /// A diff, where text differs.
    pub(super) detail: Option<String>,
    /// Commands that fix it.
    pub(super) remediation: Vec<String>,
    /// Whether only root can check it, and this is not root.
    #[serde(skip)]
    pub(super) hidden: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u32,
    version: &'static str,
    checks: &'a [Check],
}

/// The report as JSON.
pub(super) fn json(checks: &[Check]) -> Result<String> {
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        checks,
    };
    Ok(serde_json::to_string_pretty(&report)?)
}

/// The lines of a message, in its column of the report.
fn below(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(for_terminal).collect();
    lines.join(&format!("\n{:31}", ""))
}

/// The report about one app as text.
pub(super) fn render(name: &AppName, checks: &[Check], many: bool) -> String {
    let mut text = String::new();
    let of: Vec<&Check> = checks
        .iter()
        .filter(|check| check.app == name.as_str())
        .collect();
    if many {
        text.push_str(&format!("{name}\n"));
    }
    for check in of.iter().filter(|check| !check.hidden) {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Skip => "skip",
            Status::Error => "error",
        };
        text.push_str(&format!(
            "  {status:<5} {:<22} {}\n",
            check.id,
            below(&check.message)
        ));
        if let Some(diff) = &check.detail {
            for line in diff.lines() {
                text.push_str(&format!("        | {}\n", for_terminal(line)));
            }
        }
        for command in &check.remediation {
            text.push_str(&format!("        fix: {}\n", for_terminal(command)));
        }
    }
    let hidden: Vec<&str> = (of.iter())
        .filter(|check| check.hidden)
        .map(|check| check.id)
        .collect();
    if !hidden.is_empty() {
        text.push_str(&format!(
            "  error only root can check {}\n        fix: sudo pullpray doctor {name}\n",
            hidden.join(", ")
        ));
    }
    let count = |status: Status| of.iter().filter(|check| check.status == status).count();
    let mut parts = vec![format!("{} ok", count(Status::Ok))];
    for (status, words) in [
        (Status::Warn, "warning"),
        (Status::Fail, "failed"),
        (Status::Skip, "skipped"),
        (Status::Error, "could not be checked"),
    ] {
        if count(status) > 0 {
            let s = if status == Status::Warn && count(status) > 1 {
                "s"
            } else {
                ""
            };
            parts.push(format!("{} {words}{s}", count(status)));
        }
    }
    text.push_str(&format!("{name}: {}\n", parts.join(", ")));
    text
}
