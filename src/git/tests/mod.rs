//! Tests with real repositories and a fake ssh that runs the command locally.

mod conduct;
mod fetching;
mod fuzz;
mod host;
mod release;
mod requests;
mod tracking;
mod upkeep;
