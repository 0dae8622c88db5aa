//! Idempotence: which batches of a producer are new, duplicate or out of order.
