//! The only way to wait for several things: always in the written order.
