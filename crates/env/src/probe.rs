//! Marks in the code for the simulator. They cost production nothing.

/// Says that a rare situation was met. A large sweep that never meets it fails.
#[cfg(madsim)]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::sim::probes::hit($name)
    };
}

/// Says that a rare situation was met. A large sweep that never meets it fails.
#[cfg(not(madsim))]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {{
        let _: &str = $name;
    }};
}

/// Whether to take a rare but legal turn here: a short read, a full queue. Only ever true in simulation, in
/// the seeds that have this point on, there with the given probability (0.05 by default).
#[cfg(madsim)]
#[macro_export]
macro_rules! buggify {
    ($name:literal) => {
        $crate::sim::probes::buggify($name, None)
    };
    ($name:literal, $probability:expr) => {
        $crate::sim::probes::buggify($name, Some($probability))
    };
}

/// Whether to take a rare but legal turn here: a short read, a full queue. Only ever true in simulation, in
/// the seeds that have this point on, there with the given probability (0.05 by default).
#[cfg(not(madsim))]
#[macro_export]
macro_rules! buggify {
    ($name:literal $(, $probability:expr)?) => {{
        let _: &str = $name;
        $(let _: f64 = $probability;)?
        false
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn marks_do_nothing_where_there_is_no_world() {
        crate::sometimes!("no-world");
        assert!(!crate::buggify!("no-world"));
        assert!(!crate::buggify!("no-world", 1.0));
    }
}
