//! The entry point of `norn`.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    norn::cli::main()
}

/// Under `--cfg madsim` there is no operating system beneath; worlds are run by `norn-sim`.
#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("error: this is the simulation build; run norn-sim, or build norn without --cfg madsim");
    std::process::ExitCode::FAILURE
}
