//! The list, the engine and the removal on a server below a temporary root.

mod agent;
mod changes;
mod changing;
mod doctor;
mod engine;
mod init;
mod killed;
mod monitors;
mod removal;
mod rotation;
mod scheduler;
mod shared;
mod state;
mod undo;
mod world;
