//! The program; everything is in the library, so that the compiler sees what is not used.

fn main() -> std::process::ExitCode {
    pullpray::main()
}
