//! The command line of the simulation.

use std::process::Command;

#[test]
fn help_is_an_answer_and_no_error() {
    for word in ["--help", "-h"] {
        let ran = Command::new(env!("CARGO_BIN_EXE_sim")).arg(word).output();
        let ran = ran.expect("it starts");
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{ran:?}");
        assert!(text.contains("--seed 42 --trace"), "{text}");
    }
}
