//! The module against real repositories, over a stand-in for ssh that runs the command here.

mod asking;
mod conduct;
mod fetching;
mod following;
mod fuzz;
mod host;
mod release;
mod upkeep;
