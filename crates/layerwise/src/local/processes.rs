//! What `/proc` says of an environment's processes.

use std::collections::VecDeque;
use std::path::Path;

/// Deeper trees are not looked at.
const DEEPEST: u32 = 64;

/// The processes below `root`, each with its distance from it.
pub(super) fn below(root: u32) -> Vec<(u32, u32)> {
    let (mut found, mut waiting) = (Vec::new(), VecDeque::from([(root, 0)]));
    while let Some((process, depth)) = waiting.pop_front() {
        for child in children(process) {
            found.push((child, depth + 1));
            if depth < DEEPEST {
                waiting.push_back((child, depth + 1));
            }
        }
    }
    found
}

fn children(process: u32) -> Vec<u32> {
    let tasks = fs_err::read_dir(Path::new("/proc").join(process.to_string()).join("task"));
    let lists = tasks.into_iter().flatten().flatten().map(|task| fs_err::read_to_string(task.path().join("children")));
    let texts: Vec<String> = lists.flatten().collect();
    texts.iter().flat_map(|text| text.split_whitespace()).filter_map(|number| number.parse().ok()).collect()
}

/// What a process has in memory now, and the most that it ever had, in bytes. Pages that are shared with others count
/// once for each.
///
/// Source: proc_pid_status(5), `VmRSS` and `VmHWM`; both are in kB whatever the size of a page is.
pub(super) fn resident(process: u32) -> (u64, u64) {
    let text = fs_err::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    };
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// The processes that were started with this variable, `NAME=value`.
pub(super) fn with_variable(variable: &str) -> Vec<u32> {
    let numbers = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |process: &u32| {
        // Those of others cannot be read, and are none of ours.
        let variables = fs_err::read(format!("/proc/{process}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    numbers.filter(has).collect()
}
