//! One test for each file in `scripts/`.

use super::script::run;

macro_rules! scripts {
    ($($name:ident;)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name), include_str!(concat!("scripts/", stringify!($name), ".txt")));
        }
    )*};
}

scripts! {
    joining;
    syncing;
    timeouts;
    leaving;
    static_members;
    offsets;
    expiry;
    cleanup;
    groups;
    loading;
}
