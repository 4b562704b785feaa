//! Hosts without root: an ordinary user who may open `/dev/net/tun` gets them in a user namespace.

use std::process::Command;

/// Gives an ordinary user a `/dev/net/tun` that it may open, in a mount namespace of its own, and
/// runs the doctor and an experiment as that user.
const SCRIPT: &str = r#"
set -eu
device=$(mktemp -u /tmp/linger-tun-XXXXXX)
mknod -m 666 "$device" c 10 200
trap 'rm -f "$device"' EXIT
mount --bind "$device" /dev/net/tun
"$0" doctor --json >/dev/null
setpriv --reuid 65534 --regid 65534 --clear-groups "$1" doctor --json
setpriv --reuid 65534 --regid 65534 --clear-groups "$1" run tcp-lifecycle --no-record --format jsonl
"#;

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(1) == Some("0"))
    })
}

#[test]
fn an_ordinary_user_runs_experiments_in_a_user_namespace() {
    let linger = env!("CARGO_BIN_EXE_linger");
    let mut command = if is_root() {
        // The binary may lie where the ordinary user may not look: a copy may be anywhere.
        let copy = std::env::temp_dir().join(format!("linger-rights-{}", std::process::id()));
        std::fs::copy(linger, &copy).expect("the binary can be copied");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
            .arg(linger)
            .arg(&copy);
        command
    } else {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#""$0" doctor --json; "$0" run tcp-lifecycle --no-record --format jsonl"#,
            ])
            .arg(linger);
        command
    };
    let output = command
        .output()
        .expect("unshare(1) and setpriv(1) are there");
    let copy = std::env::temp_dir().join(format!("linger-rights-{}", std::process::id()));
    let _ = std::fs::remove_file(copy);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("a user namespace of its own"),
        "{stdout}\n{stderr}"
    );
    let last = stdout.lines().last().expect("a last line");
    let verdict: serde_json::Value = serde_json::from_str(last).expect("a verdict");
    assert_eq!(verdict["kind"], "verdict");
    assert_eq!(verdict["counts"]["time_wait:client"], 1);
}
