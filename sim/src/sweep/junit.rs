//! A sweep as JUnit XML, for whatever shows test results.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::summary::Summary;
use crate::report::{Report, Verdict};

/// Writes a test case for each seed, with the command that shows a failure `again`, one for the idle world and one for the
/// sweep as a whole.
pub fn write(
    path: &Path,
    reports: &[Report],
    idle: (&Report, &str),
    summary: &Summary,
    again: impl Fn(&Report) -> String,
) -> io::Result<()> {
    let mut suite = TestSuite::new("norn-sim sweep");
    let seeds = reports.iter().map(|report| (format!("seed {}", report.seed), report, again(report)));
    for (name, report, again) in seeds.chain([("idle world".to_owned(), idle.0, idle.1.to_owned())]) {
        let status = match report.verdict {
            Verdict::Pass => TestCaseStatus::success(),
            verdict => {
                let details =
                    report.findings.iter().map(|finding| format!("{}: {}", finding.checker, finding.detail));
                let details = details.collect::<Vec<_>>().join("\n");
                failed(verdict, report.signature(), format!("{details}\n{again}"))
            }
        };
        let mut case = TestCase::new(name, status);
        case.set_time(Duration::from_secs_f64(report.wall_s.max(0.0)));
        suite.add_test_case(case);
    }
    let status = match summary.harness.is_empty() {
        true => TestCaseStatus::success(),
        false => {
            failed(Verdict::Harness, "the sweep proves too little".to_owned(), summary.harness.join("\n"))
        }
    };
    suite.add_test_case(TestCase::new("harness", status));
    let mut junit = Junit::new("norn-sim");
    junit.add_test_suite(suite);
    junit.serialize(File::create(path)?).map_err(io::Error::other)
}

fn failed(verdict: Verdict, message: String, details: String) -> TestCaseStatus {
    let kind = match verdict {
        Verdict::Crash | Verdict::Harness => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(verdict.name()).set_message(message).set_description(details);
    status
}
