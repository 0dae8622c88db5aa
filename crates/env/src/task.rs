//! Named, supervised tasks; shutdown; what a task waits for.
