//! Tests with real repositories and a fake ssh that runs the command locally.

mod asking;
mod conduct;
mod fetching;
mod following;
mod fuzz;
mod host;
mod release;
mod upkeep;
