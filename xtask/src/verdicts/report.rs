//! The page.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::running::Closure;
use super::wheels::{Judged, Row};
use super::{AUDITWHEEL, LARGEST, Place, text};
use crate::survey::{TARGETS, put};

pub(super) fn report(place: &Place, judged: &Judged, closures: &[Closure]) -> Result<String, String> {
    let words = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
        let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok::<String, String>(words.lines().next().unwrap_or_default().to_owned())
    };
    let layerwise = place.layerwise.to_str().ok_or("a path that is not UTF-8")?;
    let mut out = format!(
        "# Verdicts: what `check` says, against auditwheel and against imports\n\n\
         Written by `cargo xtask verdicts` on {}, with {}, auditwheel {AUDITWHEEL}, on {} with {}.\n",
        words("date", &["-u", "+%F"])?,
        words(layerwise, &["--version"])?,
        words("uname", &["-srm"])?,
        words("getconf", &["GNU_LIBC_VERSION"])?,
    );
    wheels(&mut out, judged);
    super::running::report(&mut out, closures)?;
    Ok(out)
}

fn wheels(out: &mut String, judged: &Judged) {
    let distinct = |of: fn(&Row) -> &str| judged.rows.iter().map(of).collect::<BTreeSet<_>>().len();
    put(
        out,
        &format!(
            "\n## Native code, against auditwheel\n\n\
             {} wheels of {} projects, {} rows: a wheel that is for several Pythons has a row for each. Of each project the\n\
             newest release with a wheel that pip would take on Amazon Linux 2023; for python3.11, which is on Amazon\n\
             Linux 2, too: so that wheels which are too new for it are here. Of `xtask/popular-native.txt` two of the four\n\
             targets in turn, of some unusual projects all four.\n\n\
             *auditwheel* is the tag of `auditwheel show`, which does not see this machine's libraries (`--ldpaths \"\"`).\n\
             It fits if the runtime's glibc (2.26 or 2.34) is as new. *layerwise* is what `layerwise check WHEEL` says of\n\
             formats, processors, symbol versions, needed libraries and undefined symbols; it fits if nothing of that is\n\
             an error.\n\n| | both fit | neither fits | only auditwheel: fits | only layerwise: fits |\n|---|---|---|---|---|\n",
            distinct(|row| &row.wheel),
            distinct(|row| &row.project),
            judged.rows.len(),
        ),
    );
    for target in &TARGETS {
        let of = |class: (bool, bool)| {
            let here = |row: &&Row| row.runtime == target.runtime && row.architecture == target.architecture;
            let rows = judged.rows.iter().filter(here);
            rows.filter(|row| (row.auditwheel_fits(), row.we_fit()) == class).count()
        };
        let counts = [(true, true), (false, false), (true, false), (false, true)].map(of);
        let [both, neither, auditwheel, layerwise] = counts;
        let name = format!("{} {}", target.runtime, target.architecture);
        put(out, &format!("| {name} | {both} | {neither} | {auditwheel} | {layerwise} |\n"));
    }
    *out += "\n### Disagreements\n\n";
    let mut causes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in judged.rows.iter().filter(|row| row.auditwheel_fits() != row.we_fit()) {
        let (cause, detail) = if row.we_fit() { auditwheel_objects(row, &judged.policies) } else { we_object(row) };
        let line = format!("- `{}`, {}: {detail}\n", row.wheel, row.runtime);
        causes.entry(cause).or_default().push(line);
    }
    if causes.is_empty() {
        *out += "None.\n";
    }
    for (cause, lines) in &causes {
        put(out, &format!("{cause}\n\n{}\n", lines.concat()));
    }
    *out += "### Names that lie\n\nWheels to which auditwheel gives a newer tag than the oldest in their name, or none:\n\n";
    let newer = |row: &&Row| promised(row).is_some_and(|promised| row.policy().is_none_or(|policy| policy > promised));
    let lies = judged.rows.iter().filter(newer).map(|row| (&row.wheel, text(&row.auditwheel, "overall_tag")));
    for (wheel, tag) in lies.collect::<BTreeSet<_>>() {
        put(out, &format!("- `{wheel}`: {tag}\n"));
    }
    *out += "\n### All rows\n\n| project | wheel | arch | python | auditwheel | layerwise | agree |\n|---|---|---|---|---|---|---|\n";
    for row in &judged.rows {
        let auditwheel = match text(&row.auditwheel, "overall_tag") {
            "" => format!("error: {}", text(&row.auditwheel, "error")),
            tag => tag.trim_end_matches("_x86_64").trim_end_matches("_aarch64").to_owned(),
        };
        let agree = if row.auditwheel_fits() == row.we_fit() { "yes" } else { "**no**" };
        let python = row.runtime.trim_start_matches("python");
        let Row { project, wheel, architecture, .. } = row;
        put(
            out,
            &format!(
                "| {project} | `{wheel}` | {architecture} | {python} | {auditwheel} | {} | {agree} |\n",
                verdict(row)
            ),
        );
    }
    put(out, &format!("\nLeft out (wheels larger than {} MB are):\n\n", LARGEST / 1_000_000));
    for (what, why) in &judged.left_out {
        put(out, &format!("- {what}: {why}\n"));
    }
}

/// The oldest glibc that a wheel's name promises to be enough.
fn promised(row: &Row) -> Option<u64> {
    let platforms = row.wheel.trim_end_matches(".whl").rsplit('-').next()?.split('.');
    platforms.filter_map(|platform| platform.strip_prefix("manylinux_2_")?.split('_').next()?.parse().ok()).min()
}

/// layerwise's verdict in a few words.
fn verdict(row: &Row) -> String {
    let short = |finding: &Value| {
        let data = &finding["data"];
        match text(finding, "id") {
            "native-library-missing" => format!("no {}", text(data, "library")),
            "native-library-unreachable" => format!("{} out of reach", text(data, "library")),
            "native-glibc" | "native-symbol-version" => format!("needs {}", text(data, "version")),
            "native-symbol-missing" => format!("no symbol {}", first(data)),
            other => other.to_owned(),
        }
    };
    let of = |severity: &str| -> BTreeSet<String> {
        row.findings.iter().filter(|finding| finding["severity"] == severity).map(short).collect()
    };
    let list = |words: BTreeSet<String>| {
        let more = words.len().saturating_sub(4);
        let mut shown: Vec<String> = words.into_iter().take(4).collect();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        shown.join(", ")
    };
    match (of("error"), of("warning")) {
        (errors, warnings) if errors.is_empty() && warnings.is_empty() => "fits".to_owned(),
        (errors, warnings) if errors.is_empty() => format!("fits; warning: {}", list(warnings)),
        (errors, _) => format!("error: {}", list(errors)),
    }
}

fn first(data: &Value) -> &str {
    data["symbols"][0].as_str().unwrap_or_default()
}

/// auditwheel says that it fits: what layerwise has against it.
fn we_object(row: &Row) -> (&'static str, String) {
    let ids: BTreeSet<&str> = row.errors().map(|finding| text(finding, "id")).collect();
    let white_listed =
        |finding: &Value| row.auditwheel["external_libs"].get(text(&finding["data"], "library")).is_some();
    let cause = match ids.iter().next() {
        Some(&"native-library-missing") if ids.len() == 1 && row.errors().all(white_listed) => {
            "**Only auditwheel: fits. The white list promises more than Lambda has.** Expected: these libraries are on \
             the list of what every Linux has, and not in the managed runtime (`docs/findings.md`, \
             native-library-missing)."
        }
        Some(&"native-symbol-missing") if ids.len() == 1 => {
            "**Only auditwheel: fits. Undefined symbols without a version.** auditwheel looks at versions only."
        }
        _ => "**Only auditwheel: fits. Not explained.**",
    };
    let details: BTreeSet<String> = row
        .errors()
        .map(|finding| {
            let data = &finding["data"];
            let what = [text(data, "library"), text(data, "version"), first(data)];
            let what = what.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
            format!("{what} (needed by `{}`)", text(finding, "file").trim_start_matches("python/"))
        })
        .collect();
    (cause, details.into_iter().collect::<Vec<_>>().join("; "))
}

/// layerwise says that it fits: what auditwheel has against it.
fn auditwheel_objects(row: &Row, policies: &Value) -> (&'static str, String) {
    let says = &row.auditwheel;
    let error = text(says, "error");
    if !error.is_empty() {
        return ("**Only layerwise: fits. auditwheel gives no tag.**", error.to_owned());
    }
    let over = beyond_policy(row, policies);
    let warned = row.findings.iter().map(|finding| text(finding, "text")).collect::<BTreeSet<_>>();
    let warned = if warned.is_empty() {
        String::new()
    } else {
        format!("; layerwise warns: {}", warned.into_iter().collect::<Vec<_>>().join("; "))
    };
    let external = says["external_libs"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let external: Vec<&str> = external.collect();
    let upgrades = says["policy_upgrades"].as_object().into_iter().flatten();
    let forbidden: BTreeSet<String> = upgrades
        .flat_map(|(_, upgrade)| upgrade["blacklisted_symbols"].as_object().into_iter().flatten())
        .map(|(library, symbols)| format!("{library}: {symbols}"))
        .collect();
    if text(says, "overall_tag").starts_with("linux_") && warned.contains("GLIBC_PRIVATE") {
        let what = "**Only layerwise: fits. Private parts of glibc in a statically linked program.** \
                    auditwheel gives no tag to what has GLIBC_PRIVATE; for layerwise it is a warning.";
        return (what, warned.trim_start_matches("; ").to_owned());
    }
    if text(says, "overall_tag").starts_with("linux_") && !external.is_empty() {
        let what = "**Only layerwise: fits. Libraries that are nowhere, needed by what no certain import leads to.** \
                    layerwise warns of them; the package is imported without, as the second half shows.";
        return (what, format!("{}{warned}", external.join(", ")));
    }
    if !over.is_empty() && over.iter().all(|(version, _)| version.starts_with("GLIBC_")) {
        let what = "**Only layerwise: fits. Weak symbol versions.** The files ask for these with VER_FLG_WEAK, so that \
                    the loader goes on without them (glibc, elf/dl-version.c) and the program looks whether the \
                    function is there. auditwheel counts them like the others.";
        return (what, listed(&over) + &warned);
    }
    if !over.is_empty() && !over.iter().any(|(version, _)| version.starts_with("GLIBC_")) {
        let what = "**Only layerwise: fits. Amazon Linux 2 has more than manylinux_2_26 may ask for.** Its compiler is \
                    GCC 7.3.1, whose libstdc++ and libgcc have GLIBCXX_3.4.24, CXXABI_1.3.11 and GCC_7.0.0; the policy \
                    (of Linuxes with GCC 6) ends at 3.4.22, 1.3.10 and 4.8.0. Of glibc the files need no more than \
                    2.26. The wheel's name says 2.27 or 2.28 for the same reason.";
        return (what, listed(&over) + &warned);
    }
    let all = [external.join(", "), listed(&over), forbidden.into_iter().collect::<Vec<_>>().join("; ")];
    let all = all.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
    ("**Only layerwise: fits. Not explained.**", format!("{all}{warned}"))
}

/// The symbol versions that the newest policy up to the runtime's glibc does not let a wheel have, with their library.
fn beyond_policy(row: &Row, policies: &Value) -> Vec<(String, String)> {
    let name = format!("manylinux_2_{}", row.glibc);
    let policy = policies.as_array().into_iter().flatten().find(|policy| text(policy, "name") == name);
    let machine = if row.architecture == "arm64" { "aarch64" } else { "x86_64" };
    let Some(families) = policy.and_then(|policy| policy["symbol_versions"][machine].as_object()) else {
        return Vec::new();
    };
    let mut beyond = Vec::new();
    for (library, versions) in row.auditwheel["versioned_symbols"].as_object().into_iter().flatten() {
        for version in versions.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some((family, number)) = version.split_once('_') else { continue };
            let known = families.get(family).and_then(Value::as_array);
            if known.is_some_and(|known| !known.iter().any(|known| known == number)) {
                beyond.push((version.to_owned(), library.clone()));
            }
        }
    }
    beyond
}

fn listed(beyond: &[(String, String)]) -> String {
    beyond.iter().map(|(version, library)| format!("{version} of {library}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(auditwheel: Value, findings: Vec<Value>) -> Row {
        Row {
            project: "p".to_owned(),
            wheel: "p-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl".to_owned(),
            runtime: "python3.11",
            architecture: "x86_64",
            glibc: 26,
            auditwheel,
            findings,
        }
    }

    #[test]
    fn who_says_that_it_fits() {
        let check = |tag: &str, findings: Vec<Value>, expected: (bool, bool)| {
            let row = row(json!({ "overall_tag": tag }), findings);
            assert_eq!((row.auditwheel_fits(), row.we_fit()), expected, "{tag}");
        };
        check("manylinux_2_26_x86_64", Vec::new(), (true, true));
        check("manylinux_2_27_x86_64", Vec::new(), (false, true));
        check("linux_x86_64", vec![json!({ "severity": "warning" })], (false, true));
        check("manylinux_2_5_x86_64", vec![json!({ "severity": "error" })], (true, false));
        assert_eq!(promised(&row(json!({}), Vec::new())), Some(27));
    }

    #[test]
    fn what_a_policy_does_not_allow() {
        let policies = json!([{ "name": "manylinux_2_26", "symbol_versions": { "x86_64": { "GLIBC": ["2.26"] } } }]);
        let symbols = json!({ "libc.so.6": ["GLIBC_2.26", "GLIBC_2.28"], "libown.so": ["OWN_1"] });
        let row = row(json!({ "versioned_symbols": symbols }), Vec::new());
        assert_eq!(listed(&beyond_policy(&row, &policies)), "GLIBC_2.28 of libc.so.6");
    }
}
