//! The program: parse, dispatch, report an error the way git does.

fn main() -> std::process::ExitCode {
    git_agile::cli::main()
}
