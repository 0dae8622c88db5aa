//! The behaviour that both back ends share.
