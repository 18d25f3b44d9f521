//! The store through its public API: what it promises, case by case and against a naive model.

mod behaviour;
mod build;
mod concurrency;
mod damage;
mod lookup;
mod model;
mod property;
mod retention;
