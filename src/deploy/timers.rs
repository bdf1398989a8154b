//! Processes that run by the clock: their units leave a file when one failed, which a poll reports once.

use anyhow::Result;

use crate::layout;
use crate::report::TimerFailure;
use crate::text::for_terminal;

use super::Poll;
use super::service::output_of_processes;

/// The failures since the last poll. Without one, this is one lstat(2) for each timer.
pub(super) fn failures(poll: &Poll<'_>) -> Result<Vec<TimerFailure>> {
    let (server, app) = (poll.server, poll.app);
    let mut failures = Vec::new();
    for process in app.limits.timers.keys() {
        let file = layout::timer_failure(&app.name, process);
        if server.stat(&file)?.is_none() {
            continue;
        }
        let how = server.read_untrusted(&file)?.unwrap_or_default();
        server.rename(&file, &file.with_file_name("reported"))?;
        let unit = layout::process_unit(&app.name, process);
        let output = output_of_processes(poll, 0, Some(process));
        let mut last_lines: Vec<String> = output.lines().map(for_terminal).collect();
        last_lines.drain(..last_lines.len().saturating_sub(SHOWN));
        failures.push(TimerFailure {
            process: process.to_string(),
            unit,
            how: for_terminal(how.trim()),
            last_lines,
        });
    }
    Ok(failures)
}

const SHOWN: usize = 10;
