//! The checkout demo: api, payment-worker, email-worker and batcher, as a reader would write them.
